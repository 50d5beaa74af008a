package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"weir/internal/status"
)

// topModel connects the screen with the terminal and the API. Requests run as commands: Update never waits for weir.
type topModel struct {
	*screen
	client        *client
	nodes         *nodeClients
	ctx           context.Context
	out           *output // nil in tests
	first         <-chan topStatus
	width, height int
	last          tea.View // that was drawn
	fetching      bool     // the status
	asked         time.Time
	took          time.Duration // of the latest response
	looking       bool          // fetching what the view needs
	ticks         int
}

// Messages of weir top.
type (
	topTick struct{}
	// topDrained says that the terminal has taken all output.
	topDrained struct{}
	// topStatus is the response to a request for the status.
	topStatus struct {
		doc *status.Document
		err error
	}
	// topSessions is the response to a request for the sessions of a server.
	topSessions struct {
		of   rowKey
		list []status.Session
		err  error
	}
	// topFleetResponse is what is known of the fleet.
	topFleetResponse struct {
		doc     *status.Fleet
		err     error
		answers []nodeAnswer
	}
	// topChanged is the result of a change as text.
	topChanged string
)

// Requests for the status take at most a part of the time, 1 of topShare, so that a large weir is not kept busy by those who watch it. They are
// at most topLongest apart.
const (
	topShare   = 5
	topLongest = 5 * time.Second
)

func topTicks() tea.Cmd {
	return tea.Tick(topInterval, func(time.Time) tea.Msg { return topTick{} })
}

// Init starts the ticks, and waits for a first response that is late.
func (m *topModel) Init() tea.Cmd {
	if m.first == nil {
		return topTicks()
	}
	m.fetching, m.askedAt = true, m.clock()
	m.asked = m.askedAt
	return tea.Batch(topTicks(), func() tea.Msg { return <-m.first })
}

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
		m.ticks++
		if m.clock().Sub(m.asked) < min(topShare*m.took, topLongest) {
			return m, tea.Batch(topTicks(), m.look())
		}
		return m, tea.Batch(topTicks(), m.fetch(), m.look())
	case topStatus:
		m.fetching, m.askedAt, m.took = false, time.Time{}, m.clock().Sub(m.asked)
		if msg.err != nil {
			m.disconnect(msg.err)
		} else {
			m.show(msg.doc)
		}
	case topSessions:
		m.looking = false
		m.showSessions(msg.of, msg.list, msg.err)
	case topFleetResponse:
		m.looking = false
		m.showFleet(msg.doc, msg.err, msg.answers)
	case topChanged:
		m.setMessage(string(msg))
		return m, m.fetch()
	}
	return m, nil
}

// View draws the screen. While the terminal has not taken the last one, it stays.
func (m *topModel) View() tea.View {
	if m.out != nil && m.last.AltScreen && m.out.isBusy() {
		return m.last
	}
	v := tea.NewView(strings.Join(m.draw(m.width, m.height), "\n"))
	v.AltScreen = true
	m.last = v
	return v
}

// fetch requests the status, unless a request is under way.
func (m *topModel) fetch() tea.Cmd {
	if m.fetching {
		return nil
	}
	m.fetching, m.askedAt = true, m.clock()
	m.asked = m.askedAt
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, requestTimeout)
		defer cancel()
		doc, err := fetchStatus(ctx, m.client)
		return topStatus{doc, err}
	}
}

// look requests what the view needs beyond the status, unless a request is under way.
func (m *topModel) look() tea.Cmd {
	if m.looking {
		return nil
	}
	var request func(ctx context.Context) tea.Msg
	switch {
	case m.view == viewServer:
		of := m.selected
		query := url.Values{"cluster": {of.cluster}, "server": {of.server}, "limit": {strconv.Itoa(maxTopSessions + 1)}}
		request = func(ctx context.Context) tea.Msg {
			response := topSessions{of: of}
			_, response.err = m.client.do(ctx, http.MethodGet, "/v1/sessions?"+query.Encode(), nil, &response.list)
			return response
		}
	case m.view == viewFleet && (m.ticks%fleetTicks == 0 || m.fleet.at.IsZero()):
		request = func(ctx context.Context) tea.Msg { return m.nodes.fleet(ctx, m.client) }
	default:
		return nil
	}
	m.looking = true
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, requestTimeout)
		defer cancel()
		return request(ctx)
	}
}

// fleetTicks is the number of ticks between requests to the nodes of a fleet.
const fleetTicks = 2

// do returns the command for a key's action.
func (m *topModel) do(action topAction) tea.Cmd {
	switch action.kind {
	case topQuit:
		if m.out != nil {
			m.out.discard()
		}
		return tea.Quit
	case topSuspend:
		return tea.Exec(stopProcess{m.out}, nil)
	case topRedraw:
		return tea.ClearScreen
	case topFetch:
		return m.look()
	case topPatch, topKill:
		return func() tea.Msg {
			ctx, cancel := context.WithTimeout(m.ctx, requestTimeout)
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
