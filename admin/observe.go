package admin

// What is: the document, whole and in parts.

import (
	"fmt"
	"net/http"

	"weir/internal/status"
)

func (s *Server) healthy(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if !s.weir.Ready() {
		fail(w, http.StatusServiceUnavailable, "", "weir is stopping")
		return
	}
	answer(w, http.StatusOK, map[string]bool{"ready": true})
}

func (s *Server) dashboard(w http.ResponseWriter, r *http.Request) { s.page.send(w, http.StatusOK) }

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, s.weir.Status())
}

func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, s.weir.Status().Clusters)
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	if c, ok := find(w, s.weir.Status(), r.PathValue("cluster")); ok {
		answer(w, http.StatusOK, c)
	}
}

// find looks a cluster up; false when the error has been answered.
func find(w http.ResponseWriter, doc status.Document, name string) (status.Cluster, bool) {
	for _, c := range doc.Clusters {
		if c.Name == name {
			return c, true
		}
	}
	fail(w, http.StatusNotFound, "cluster", "no cluster "+name)
	return status.Cluster{}, false
}

// How many sessions are listed, unless the client says otherwise, and at most.
const (
	usualSessions = 1000
	mostSessions  = 100_000
)

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	if !known(w, r, "listener", "cluster", "server", "limit") {
		return
	}
	q := r.URL.Query()
	limit, err := uintOr(q.Get("limit"), usualSessions)
	if err != nil || limit < 1 || limit > mostSessions {
		fail(w, http.StatusBadRequest, "limit", fmt.Sprintf("want a number from 1 to %d", mostSessions))
		return
	}
	answer(w, http.StatusOK, s.weir.ListSessions(status.SessionFilter{
		Listener: q.Get("listener"), Cluster: q.Get("cluster"), Server: q.Get("server"), Limit: int(limit),
	}))
}
