package admin

import (
	_ "embed" // for the description
	"net/http"
)

// openapi describes the API (OpenAPI 3.1).
//
//go:embed openapi.yaml
var openapi []byte

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(openapi)
}
