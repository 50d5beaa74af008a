package admin

// Read-only requests: the status document and its parts.

import (
	"fmt"
	"math"
	"net/http"

	"weir/internal/status"
)

func (s *Server) healthy(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "cluster") {
		return
	}
	if err := s.weir.CheckReady(r.URL.Query().Get("cluster")); err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]bool{"ready": true})
}

func (s *Server) getDashboard(w http.ResponseWriter, r *http.Request) { s.page.write(w, http.StatusOK) }

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "max_servers") {
		return
	}
	most, err := parseUint(r.URL.Query().Get("max_servers"), math.MaxInt)
	if err != nil {
		writeError(w, http.StatusBadRequest, "max_servers", "want a number")
		return
	}
	doc := s.weir.Status()
	doc.OmitUp(int(most))
	writeJSON(w, http.StatusOK, doc)
}

func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.weir.Status().Clusters)
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	if c, ok := findCluster(w, s.weir.Status(), r.PathValue("cluster")); ok {
		writeJSON(w, http.StatusOK, c)
	}
}

func (s *Server) discoveries(w http.ResponseWriter, r *http.Request) {
	report, err := s.weir.Discoveries(r.PathValue("cluster"))
	if err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, report)
}

// findCluster returns a cluster of the document. If there is none it writes the response and returns false.
func findCluster(w http.ResponseWriter, doc status.Document, name string) (status.Cluster, bool) {
	for _, c := range doc.Clusters {
		if c.Name == name {
			return c, true
		}
	}
	writeError(w, http.StatusNotFound, "cluster", "no cluster "+name)
	return status.Cluster{}, false
}

// Default and maximum number of sessions in a list.
const (
	defaultSessions = 1000
	maxSessions     = 100_000
)

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "listener", "cluster", "server", "limit") {
		return
	}
	q := r.URL.Query()
	limit, err := parseUint(q.Get("limit"), defaultSessions)
	if err != nil || limit < 1 || limit > maxSessions {
		writeError(w, http.StatusBadRequest, "limit", fmt.Sprintf("want a number from 1 to %d", maxSessions))
		return
	}
	writeJSON(w, http.StatusOK, s.weir.ListSessions(status.SessionFilter{
		Listener: q.Get("listener"), Cluster: q.Get("cluster"), Server: q.Get("server"), Limit: int(limit),
	}))
}
