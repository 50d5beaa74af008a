package admin

import (
	_ "embed" // for openapi.yaml
	"net/http"
)

// openapi is the OpenAPI 3.1 description of the API.
//
//go:embed openapi.yaml
var openapi []byte

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(openapi)
}
