package admin

import (
	"net/http"
	"time"
)

// history answers with the last hour of a server, of a cluster or of the whole process.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "cluster", "server", "since") {
		return
	}
	q := r.URL.Query()
	after, ok := parseSince(q.Get("since"))
	if !ok {
		writeError(w, http.StatusBadRequest, "since", "want a time such as 2006-01-02T15:04:05Z, or how long ago such as 15m")
		return
	}
	h, err := s.weir.History(q.Get("cluster"), q.Get("server"), after)
	if err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, h)
}

// parseSince returns the time that a text means; the zero time for "".
func parseSince(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), ago >= 0
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}
