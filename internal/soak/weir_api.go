package soak

// The API of the weir under test.

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// call makes an API request. Its errors are *statusError and those of the transport.
func (p *weirProcess) call(method, path, body string) ([]byte, error) {
	p.calls.RLock()
	defer p.calls.RUnlock()
	return p.request(method, path, body)
}

func (p *weirProcess) request(method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://weir"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return text, &statusError{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	return text, nil
}

// statusError is a response with an error status.
type statusError struct {
	status int
	text   string
}

func (r *statusError) Error() string { return fmt.Sprintf("%d: %s", r.status, r.text) }
