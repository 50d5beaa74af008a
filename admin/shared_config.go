package admin

// Requests about the configuration that the nodes of a fleet share.

import (
	"encoding/json"
	"net/http"
	"time"
)

// maxShared limits the body of a request with a shared configuration, whose text has at most 1 MiB.
const maxShared = 4 << 20

// applyRequest is the body of a request for a roll-out.
type applyRequest struct {
	File   string `json:"file"` // stands for the text in messages
	Text   string `json:"text"`
	Canary int    `json:"canary"`
	Pause  string `json:"pause"` // a duration
}

func (s *Server) sharedConfig(w http.ResponseWriter, _ *http.Request) {
	c, err := s.weir.SharedConfig()
	writeResult(w, http.StatusOK, c, err)
}

func (s *Server) applyShared(w http.ResponseWriter, r *http.Request) {
	text, ok := readBody(w, r, maxShared)
	if !ok {
		return
	}
	req := applyRequest{Canary: 1, Pause: "30s"}
	if err := json.Unmarshal(text, &req); err != nil {
		writeError(w, http.StatusBadRequest, "", "want an object with file, text, canary and pause")
		return
	}
	pause, err := time.ParseDuration(req.Pause)
	if err != nil || pause < 0 {
		writeError(w, http.StatusBadRequest, "pause", "want a duration such as \"30s\"")
		return
	}
	if !checkMarks(w, req.Text) {
		return
	}
	end, ok := s.beginPlan(w)
	if !ok {
		return
	}
	defer end()
	rollout, err := s.weir.ApplyShared(r.Context(), requester(r), req.File, []byte(req.Text), req.Canary, pause)
	writeResult(w, http.StatusAccepted, rollout, err)
}

func (s *Server) resetShared(w http.ResponseWriter, r *http.Request) {
	rollout, err := s.weir.ClearShared(r.Context(), requester(r))
	writeResult(w, http.StatusAccepted, rollout, err)
}

func (s *Server) rollbackShared(w http.ResponseWriter, r *http.Request) {
	rollout, err := s.weir.RollBackShared(r.Context(), requester(r))
	writeResult(w, http.StatusAccepted, rollout, err)
}
