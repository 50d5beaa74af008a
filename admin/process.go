package admin

// Requests to the process: reload, plan, stop, upgrade, the state of the node.

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"time"

	"weir/conf"
)

// maxFile limits a configuration in a request body: ten thousand servers have one or two megabytes, and 120,000 marks: the
// characters that separate keys and values, each of which costs about 500 bytes of memory. maxPlans limits concurrent plan
// requests.
const (
	maxFile  = 4 << 20
	maxMarks = 300_000
	maxPlans = 1
)

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.weir.Reload(r.Context()); err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.weir.Status().Config)
}

// beginPlan reserves the time and memory that a configuration in a request takes. If others have it, it writes the response and returns
// false. Call end when the configuration is validated.
func (s *Server) beginPlan(w http.ResponseWriter) (end func(), ok bool) {
	select {
	case s.plans <- struct{}{}:
		return func() { <-s.plans }, true
	default:
		w.Header().Set("Retry-After", retryAfter)
		writeError(w, http.StatusServiceUnavailable, "", fmt.Sprintf("%d plans are running already", maxPlans))
		return nil, false
	}
}

// checkMarks rejects a configuration with more than maxMarks marks: it writes the response and returns false.
func checkMarks(w http.ResponseWriter, text string) bool {
	marks := 0
	for _, c := range []byte(text) {
		switch c {
		case '=', ',', '[', '{':
			marks++
		}
	}
	if marks > maxMarks {
		writeError(w, http.StatusRequestEntityTooLarge, "", fmt.Sprintf("configuration too large: want at most %d keys and values", maxMarks))
		return false
	}
	return true
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	end, ok := s.beginPlan(w)
	if !ok {
		return
	}
	defer end()
	text, ok := readBody(w, r, maxFile)
	if !ok || !checkMarks(w, string(text)) {
		return
	}
	files := conf.PlanRequest{}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == conf.PlanRequestType {
		if err := json.Unmarshal(text, &files); err != nil || files.Included == nil {
			writeError(w, http.StatusBadRequest, "", "want an object with text and included")
			return
		}
		text = []byte(files.Text)
	} else if len(text) == 0 {
		text = nil
	}
	p, err := s.weir.Plan(r.URL.Query().Get("file"), text, files.Included)
	writeResult(w, http.StatusOK, p, err)
}

// stop responds when the drain has ended.
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

func (s *Server) drainNode(w http.ResponseWriter, r *http.Request) {
	if text, ok := readBody(w, r, maxBody); ok {
		n, err := s.weir.DrainNode(requester(r), text)
		writeResult(w, http.StatusOK, n, err)
	}
}

func (s *Server) readyNode(w http.ResponseWriter, r *http.Request) {
	if text, ok := readBody(w, r, maxBody); ok {
		n, err := s.weir.ReadyNode(requester(r), text)
		writeResult(w, http.StatusOK, n, err)
	}
}

// upgrade responds when the new process serves or has failed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{})
	out.SetWriteDeadline(time.Time{})
	u, err := s.weir.Upgrade(r.Context())
	writeResult(w, http.StatusOK, u, err)
}
