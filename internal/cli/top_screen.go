package cli

// The state of weir top, without a terminal or a network.

import (
	"slices"
	"time"

	"weir/internal/status"
)

// topView is what the screen shows.
type topView int

// The views.
const (
	viewServers  topView = iota // all servers
	viewServer                  // the selected server
	viewProblems                // all problems
	viewFleet                   // the nodes of the fleet
)

// screen is the state of weir top between two keys.
type screen struct {
	palette palette
	clock   func() time.Time

	doc       *status.Document // nil = no response yet
	rates     rates
	history   history
	lastError string // of the latest request; "" if doc is its response
	lostAt    time.Time
	askedAt   time.Time // of a request without a response; zero = none

	arrangement
	rows     []topRow // of doc, arranged
	selected rowKey   // the row that keys act on
	at       int      // its index in rows
	moved    bool     // the operator has chosen it; else it is the first row
	first    int      // the first row on the screen
	page     int      // the number of rows or lines that fit

	view     topView
	help     bool // the keys are shown instead of the view
	scrolled int  // the first line of text on the screen
	sessions serverSessions
	fleet    topFleet

	typing   bool       // keys edit the filter
	pending  *topAction // the action that waits for confirmation
	message  string
	messaged time.Time
}

// messageTime is how long a message stays.
const messageTime = 6 * time.Second

func newScreen(colour bool) *screen {
	return &screen{palette: palette(colour), page: 1, clock: time.Now}
}

// show replaces the document.
func (s *screen) show(doc *status.Document) {
	s.doc, s.lastError = doc, ""
	s.rates.next(doc)
	s.history.next(s.clock(), doc, &s.rates)
	s.arrange()
}

// disconnect records that the request for a newer document failed.
func (s *screen) disconnect(err error) {
	if s.lastError == "" {
		s.lostAt = s.clock()
	}
	s.lastError = err.Error()
}

func (s *screen) setMessage(text string) { s.message, s.messaged = text, s.clock() }

// arrange recomputes the rows. The selected row stays selected wherever it moves; if it is gone, the row in its position is
// selected.
func (s *screen) arrange() {
	if s.doc == nil {
		return
	}
	s.rows = rowsOf(s.doc, &s.rates, s.arrangement)
	if !s.moved && s.view == viewServers && s.pending == nil {
		s.at = 0
	} else if i := slices.IndexFunc(s.rows, func(r topRow) bool { return r.rowKey == s.selected }); i >= 0 {
		s.at = i
	} else if s.view == viewServer { // another server must not take its place under the operator's eyes
		s.setMessage(s.selected.cluster + "/" + s.selected.server + " is not in the list any more")
		s.open(viewServers)
	}
	s.selectRow(s.at)
}

// selectRow selects the row at an index, or the nearest one.
func (s *screen) selectRow(at int) {
	s.at = max(0, min(at, len(s.rows)-1))
	s.selected = rowKey{}
	if s.at < len(s.rows) {
		s.selected = s.rows[s.at].rowKey
	}
}

// row returns the selected row, or nil.
func (s *screen) row() *topRow {
	if s.at < len(s.rows) {
		return &s.rows[s.at]
	}
	return nil
}

// open changes the view.
func (s *screen) open(view topView) {
	s.view, s.help, s.scrolled = view, false, 0
}

// now returns the time of the document, on the clock of weir.
func (s *screen) now() time.Time {
	return s.doc.StartedAt.Add(time.Duration(s.doc.UptimeSeconds * float64(time.Second)))
}

// since formats how long ago a time of the document was.
func (s *screen) since(t time.Time) string { return age(max(0, s.now().Sub(t).Seconds())) }
