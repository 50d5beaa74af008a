package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"weir/internal/status"
)

// topModel connects the screen with the terminal and the API. Requests run as commands: Update never waits for weir.
type topModel struct {
	*screen
	client        *client
	ctx           context.Context
	width, height int
	fetching      bool
}

// Messages of weir top.
type (
	topTick struct{}
	// topStatus is the response to a request for the status.
	topStatus struct {
		doc *status.Document
		err error
	}
	// topChanged is the result of a change as text.
	topChanged string
)

func topTicks() tea.Cmd {
	return tea.Tick(topInterval, func(time.Time) tea.Msg { return topTick{} })
}

// Init starts the ticks.
func (m *topModel) Init() tea.Cmd { return topTicks() }

// Update applies a message.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.do(m.press(msg.String()))
	case tea.PasteMsg:
		m.paste(msg.Content)
	case topTick:
		return m, tea.Batch(topTicks(), m.fetch())
	case topStatus:
		m.fetching = false
		if msg.err != nil {
			m.disconnect(msg.err)
		} else {
			m.show(msg.doc)
		}
	case topChanged:
		m.setMessage(string(msg))
		return m, m.fetch()
	}
	return m, nil
}

// View draws the screen.
func (m *topModel) View() tea.View {
	v := tea.NewView(strings.Join(m.draw(m.width, m.height), "\n"))
	v.AltScreen = true
	return v
}

// fetch requests the status, unless a request is under way.
func (m *topModel) fetch() tea.Cmd {
	if m.fetching {
		return nil
	}
	m.fetching = true
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, topTimeout)
		defer cancel()
		doc, err := fetchStatus(ctx, m.client)
		return topStatus{doc, err}
	}
}

// do returns the command for a key's action.
func (m *topModel) do(action topAction) tea.Cmd {
	switch action.kind {
	case topQuit:
		return tea.Quit
	case topSuspend:
		return tea.Exec(stopProcess{}, nil)
	case topRedraw:
		return tea.ClearScreen
	case topPatch, topKill:
		return func() tea.Msg {
			ctx, cancel := context.WithTimeout(m.ctx, topTimeout)
			defer cancel()
			text, err := m.client.change(ctx, action)
			if err != nil {
				text = err.Error()
			}
			return topChanged(text)
		}
	}
	return nil
}

// change sends an action to the API and returns the result as text.
func (c *client) change(ctx context.Context, action topAction) (string, error) {
	at := path("v1", "clusters", action.cluster, "servers", action.server)
	if action.kind == topKill {
		var n cutCount
		_, err := c.do(ctx, http.MethodDelete, at+"/sessions", nil, &n)
		return fmt.Sprintf("%s/%s: %d sessions cut", action.cluster, action.server, n.SessionsCut), err
	}
	var x status.Explanation
	_, err := c.do(ctx, http.MethodPatch, at, action.patch, &x)
	return fmt.Sprintf("%s/%s: %s, weight %d", x.Cluster, x.Name, x.State, x.Weight), err
}
