package admin

// Runtime changes: overrides, servers, clusters, sessions.

import (
	"encoding/json"
	"net/http"
	"strconv"

	"weir/internal/status"
)

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	x, err := s.weir.Explain(r.PathValue("cluster"), r.PathValue("server"))
	writeResult(w, http.StatusOK, x, err)
}

// writeServer writes the state of a server after a change, or the error of the change.
func (s *Server) writeServer(w http.ResponseWriter, code int, cluster, server string, err error) {
	var x status.Explanation
	if err == nil {
		x, err = s.weir.Explain(cluster, server)
	}
	writeResult(w, code, x, err)
}

// runtimeChange returns who makes the change of a request, and whether it is for this node only: ?local=true. If the value is
// invalid it writes the error and returns false.
func runtimeChange(w http.ResponseWriter, r *http.Request) (c status.RuntimeChange, ok bool) {
	c.By = requester(r)
	switch r.URL.Query().Get("local") {
	case "", "false":
	case "true":
		c.Local = true
	default:
		writeError(w, http.StatusBadRequest, "local", "want true or false")
		return c, false
	}
	return c, true
}

// writeChange is writeServer for a runtime change of the cluster.
func (s *Server) writeChange(w http.ResponseWriter, code int, cluster, server string, err error) {
	var x status.Explanation
	if err == nil {
		x, err = s.weir.Explain(cluster, server)
	}
	if err == nil {
		x.Shared = s.weir.Shared(cluster, "")
	}
	writeResult(w, code, x, err)
}

func (s *Server) patchServer(w http.ResponseWriter, r *http.Request) {
	if text, ok := readBody(w, r, maxBody); ok {
		cluster, server := r.PathValue("cluster"), r.PathValue("server")
		err := s.weir.Override(requester(r), cluster, server, text)
		shared := ""
		if err == nil {
			shared = s.shared(cluster, server, text)
		}
		if shared == status.SharedConflict {
			err = &status.RequestError{Kind: status.Conflict, Text: "the server was changed on another node of the fleet at the same time; that override holds"}
		}
		var x status.Explanation
		if err == nil {
			x, err = s.weir.Explain(cluster, server)
		}
		x.Shared = shared
		writeResult(w, http.StatusOK, x, err)
	}
}

// shared returns what became of an override of a request in the fleet.
func (s *Server) shared(cluster, server string, text []byte) string {
	var p struct {
		Local bool `json:"local"`
	}
	if json.Unmarshal(text, &p) == nil && p.Local {
		return status.SharedLocal
	}
	return s.weir.Shared(cluster, server)
}

func (s *Server) fleet(w http.ResponseWriter, r *http.Request) {
	x, err := s.weir.Fleet()
	writeResult(w, http.StatusOK, x, err)
}

// setFleetNode returns the handler that changes a node of the fleet to a state.
func (s *Server) setFleetNode(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text, ok := readBody(w, r, maxBody); ok {
			node := r.PathValue("node")
			shared, err := s.weir.SetFleetNode(requester(r), node, to, text)
			if shared == status.SharedConflict {
				err = &status.RequestError{Kind: status.Conflict, Text: "the node was changed on another node of the fleet at the same time; that holds"}
			}
			writeResult(w, http.StatusOK, status.FleetNodeChange{Node: node, State: to, Shared: shared}, err)
		}
	}
}

func (s *Server) resetFleet(w http.ResponseWriter, r *http.Request) {
	writeNoContent(w, s.weir.FleetReset(r.Context(), requester(r)))
}

func (s *Server) followFleet(w http.ResponseWriter, r *http.Request) {
	writeNoContent(w, s.weir.FollowFleet(requester(r), r.PathValue("cluster")))
}

func (s *Server) forgetNode(w http.ResponseWriter, r *http.Request) {
	writeNoContent(w, s.weir.FleetForget(r.Context(), requester(r), r.PathValue("node")))
}

func (s *Server) feedback(w http.ResponseWriter, r *http.Request) {
	if text, ok := readBody(w, r, maxBody); ok {
		cluster, server := r.PathValue("cluster"), r.PathValue("server")
		s.writeServer(w, http.StatusOK, cluster, server, s.weir.Feedback(cluster, server, text))
	}
}

func (s *Server) postServer(w http.ResponseWriter, r *http.Request) {
	change, valid := runtimeChange(w, r)
	if !valid {
		return
	}
	if text, ok := readBody(w, r, maxBody); ok {
		cluster := r.PathValue("cluster")
		server, err := s.weir.AddServer(change, cluster, text)
		s.writeChange(w, http.StatusCreated, cluster, server, err)
	}
}

func (s *Server) deleteServer(w http.ResponseWriter, r *http.Request) {
	if change, valid := runtimeChange(w, r); valid {
		writeNoContent(w, s.weir.RemoveServer(change, r.PathValue("cluster"), r.PathValue("server")))
	}
}

func (s *Server) restoreServer(w http.ResponseWriter, r *http.Request) {
	if change, valid := runtimeChange(w, r); valid {
		cluster, server := r.PathValue("cluster"), r.PathValue("server")
		s.writeChange(w, http.StatusOK, cluster, server, s.weir.RestoreServer(change, cluster, server))
	}
}

func (s *Server) putCluster(w http.ResponseWriter, r *http.Request) {
	change, valid := runtimeChange(w, r)
	if !valid {
		return
	}
	text, ok := readBody(w, r, maxBody)
	if !ok {
		return
	}
	created, err := s.weir.PutCluster(change, r.PathValue("cluster"), text)
	if err != nil {
		writeRequestError(w, err)
		return
	}
	if c, ok := findCluster(w, s.weir.Status(), r.PathValue("cluster")); ok {
		code := http.StatusOK
		if created {
			code = http.StatusCreated
		}
		writeJSON(w, code, c)
	}
}

func (s *Server) deleteCluster(w http.ResponseWriter, r *http.Request) {
	if change, valid := runtimeChange(w, r); valid {
		writeNoContent(w, s.weir.RemoveCluster(change, r.PathValue("cluster")))
	}
}

func (s *Server) failback(w http.ResponseWriter, r *http.Request) {
	writeNoContent(w, s.weir.Failback(r.PathValue("cluster")))
}

func (s *Server) rebalance(w http.ResponseWriter, r *http.Request) {
	if text, ok := readBody(w, r, maxBody); ok {
		plan, err := s.weir.Rebalance(r.PathValue("cluster"), text)
		writeResult(w, http.StatusOK, plan, err)
	}
}

func (s *Server) resetTopology(w http.ResponseWriter, r *http.Request) {
	writeNoContent(w, s.weir.ResetTopology(requester(r), r.PathValue("cluster")))
}

// cutCount is the response of requests that cut sessions.
type cutCount struct {
	SessionsCut int `json:"sessions_cut"`
}

func (s *Server) cutServer(w http.ResponseWriter, r *http.Request) {
	n, err := s.weir.CutServer(r.PathValue("cluster"), r.PathValue("server"))
	writeResult(w, http.StatusOK, cutCount{n}, err)
}

func (s *Server) cutSession(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		writeError(w, http.StatusBadRequest, "id", "want a session id")
		return
	}
	writeNoContent(w, s.weir.CutSession(id))
}

// writeNoContent writes the response of a request without a result.
func writeNoContent(w http.ResponseWriter, err error) {
	if err != nil {
		writeRequestError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
