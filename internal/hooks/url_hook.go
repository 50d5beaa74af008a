package hooks

// Hooks with a URL.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"weir/conf"
	"weir/internal/printable"
)

// post sends one event. again reports that an error may be temporary. No error contains the URL, which may contain a
// secret.
func post(ctx context.Context, spec *conf.Hook, body []byte) (err error, again bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, spec.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("invalid url"), false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "weir")
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	// One connection per event: events are rare, and no connection stays open between them.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req) // does not follow redirects, which would turn it into a GET
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", spec.Timeout)
		} else if ctx.Err() != nil {
			err = ctx.Err()
		}
		return err, true
	}
	res.Body.Close()
	switch code := res.StatusCode; {
	case code >= 200 && code <= 299:
		return nil, false
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		return fmt.Errorf("want status 2xx, got %s", printable.Clip(res.Status, printable.MaxQuote)), true
	default:
		return fmt.Errorf("want status 2xx, got %s", printable.Clip(res.Status, printable.MaxQuote)), false
	}
}
