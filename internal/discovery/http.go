package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"weir/conf"
	"weir/internal/printable"
)

// httpList is a provider that gets a list of targets from a URL. No error contains the URL, which may hold a secret.
type httpList struct {
	spec   *conf.Discover
	client *httpClient
	etag   string // of the last answer; "" = none
}

func prepareHTTP(spec *conf.Discover) (func(Place) Provider, error) {
	client, err := newHTTPClient(spec)
	return func(Place) Provider { return &httpList{spec: spec, client: client} }, err
}

// Ask implements Provider.
func (p *httpList) Ask(ctx context.Context) (Answer, error) {
	a, err := p.ask(ctx)
	return p.client.repeated.remove(a, err)
}

func (p *httpList) ask(ctx context.Context) (Answer, error) {
	header := http.Header{}
	if p.etag != "" {
		header.Set("If-None-Match", p.etag)
	}
	res, err := p.client.get(ctx, p.spec.URL, header)
	if err != nil {
		return Answer{}, err
	}
	if res.StatusCode == http.StatusNotModified && p.etag != "" {
		return Answer{}, ErrUnchanged
	}
	p.etag = ""
	if res.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("want status 200, got %s", printable.Clip(res.Status, printable.MaxQuote))
	}
	a, err := parseTargets(res.body)
	if err == nil {
		p.etag = res.Header.Get("ETag")
	}
	return a, err
}

// httpClient gets texts over HTTP, each over a connection of its own: no connection stays open between two questions.
type httpClient struct {
	spec      *conf.Discover
	transport *http.Transport

	repeated *repeated // of the last question; nil = none
	token    string    // of the last question
}

// newHTTPClient reads the files of a specification.
func newHTTPClient(spec *conf.Discover) (*httpClient, error) {
	secure, err := tlsConfig(spec)
	if err == nil {
		err = checkToken(spec.TokenFile)
	}
	if err != nil {
		return nil, err
	}
	return &httpClient{spec: spec, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: secure,
	}}, nil
}

// response is a response with its body.
type response struct {
	*http.Response
	body []byte
}

// get sends a request with the headers and the token of the specification. It does not follow redirects, which would carry
// secrets to another host.
func (c *httpClient) get(ctx context.Context, address string, header http.Header) (r response, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return r, errors.New("invalid url")
	}
	req.Header = header
	req.Header.Set("User-Agent", "weir")
	req.Header.Set("Accept", "application/json")
	for _, h := range c.spec.Headers {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	token, err := readToken(c.spec.TokenFile)
	if err != nil {
		return r, err
	}
	if c.repeated == nil || c.token != token {
		c.repeated, c.token = repeatedOf(c.spec, token), token
	}
	switch {
	case token == "":
	case c.spec.Type == "consul":
		req.Header.Set("X-Consul-Token", token)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if r.Response, err = c.transport.RoundTrip(req); err != nil {
		return r, cause(ctx, err)
	}
	defer r.Body.Close()
	if r.body, err = io.ReadAll(io.LimitReader(r.Body, maxAnswer+1)); err != nil {
		return r, cause(ctx, err)
	}
	if len(r.body) > maxAnswer {
		return r, fmt.Errorf("answer larger than %d MB", maxAnswer>>20)
	}
	return r, nil
}

// cause returns why a question failed: the end of ctx, or err without a URL.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return errors.New(printable.Clip(err.Error(), printable.MaxLine))
}
