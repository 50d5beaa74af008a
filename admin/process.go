package admin

// What concerns the process: its configuration and its end.

import (
	"fmt"
	"net/http"
	"time"

	"weir/conf"
)

// What planning may take: maxFile bounds a configuration file that is sent, and maxPlans how many there are at once.
const (
	maxFile  = 16 << 20
	maxPlans = 2
)

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.weir.Reload(r.Context()); err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.weir.Status().Config)
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	select {
	case s.plans <- struct{}{}:
		defer func() { <-s.plans }()
	default:
		writeError(w, http.StatusServiceUnavailable, "", fmt.Sprintf("%d configurations are being planned with already", maxPlans))
		return
	}
	text, ok := readBody(w, r, maxFile)
	if !ok {
		return
	}
	if len(text) == 0 {
		text = nil
	}
	p, err := s.weir.Plan(r.URL.Query().Get("file"), text)
	if err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, p)
}

// stop answers when the drain is over.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	text, ok := readBody(w, r, maxBody)
	if !ok {
		return
	}
	now, err := conf.ParseStopRequest(text)
	if ms, bad := err.(conf.Errors); bad {
		writeError(w, http.StatusBadRequest, ms[0].Path, ms[0].Msg)
		return
	}
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{})
	out.SetWriteDeadline(time.Time{})
	cut, err := s.weir.Stop(r.Context(), now)
	if err != nil {
		return // the client is gone
	}
	writeJSON(w, http.StatusOK, cutCount{cut})
}

// upgrade answers when the other process serves, or when it has turned out that it will not.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{})
	out.SetWriteDeadline(time.Time{})
	u, err := s.weir.Upgrade(r.Context())
	if err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, u)
}
