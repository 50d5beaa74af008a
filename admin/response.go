package admin

// Responses: JSON documents, and errors with their status code.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weir/internal/status"
)

// maxBody limits request bodies, except configuration files.
const maxBody = 1 << 20

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v) // an error means that the client has gone
}

// apiError is the body of every error.
type apiError struct {
	Error string `json:"error"`
	Field string `json:"field"`
}

func writeError(w http.ResponseWriter, code int, field, text string) {
	writeJSON(w, code, apiError{Error: text, Field: field})
}

// writeRequestError writes an error that a method of Weir returned.
func writeRequestError(w http.ResponseWriter, err error) {
	var r *status.RequestError
	if !errors.As(err, &r) {
		writeError(w, http.StatusInternalServerError, "", err.Error())
		return
	}
	writeError(w, map[status.ErrorKind]int{
		status.Invalid: http.StatusBadRequest, status.NotFound: http.StatusNotFound, status.Conflict: http.StatusConflict,
		status.Unprocessable: http.StatusUnprocessableEntity, status.Forbidden: http.StatusForbidden,
		status.Unavailable: http.StatusServiceUnavailable,
	}[r.Kind], r.Field, r.Text)
}

// writeResult writes the result of a method of Weir, or its error.
func writeResult(w http.ResponseWriter, code int, v any, err error) {
	if err != nil {
		writeRequestError(w, err)
		return
	}
	writeJSON(w, code, v)
}

// discardLimit is how much of a too large body is read and discarded. A client whose connection is closed while it writes does
// not see the response.
const discardLimit = 64 << 20

// readBody reads the request body up to a limit. On error it writes the response and returns false.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	all := r.Body
	text, err := io.ReadAll(http.MaxBytesReader(w, all, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		io.CopyN(io.Discard, all, discardLimit)
		writeError(w, http.StatusRequestEntityTooLarge, "", "request body too large")
	case err != nil:
		writeError(w, http.StatusBadRequest, "", "request body incomplete")
	}
	return text, err == nil
}

// withoutBody returns a handler that refuses requests with a body, except an empty object: what the client asks for with it
// would not be done.
func withoutBody(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, ok := readBody(w, r, maxBody)
		if !ok {
			return
		}
		if text = bytes.TrimSpace(text); len(text) > 0 && string(text) != "{}" {
			writeError(w, http.StatusBadRequest, "", r.Method+" "+r.URL.Path+" takes no request body")
			return
		}
		do(w, r)
	}
}

// checkParameters rejects unknown and repeated query parameters: it writes the response and returns false. A misspelt filter
// would otherwise select everything.
func checkParameters(w http.ResponseWriter, r *http.Request, names ...string) bool {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, "", "invalid query string")
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(names, name) {
			writeError(w, http.StatusBadRequest, name, "unknown parameter "+strconv.Quote(name)+", want "+strings.Join(names, ", "))
			return false
		}
		if len(q[name]) > 1 {
			writeError(w, http.StatusBadRequest, name, "given more than once")
			return false
		}
	}
	return true
}

func (m methods) allowed() string {
	names := slices.Sorted(maps.Keys(m))
	if m[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	return strings.Join(names, ", ")
}
