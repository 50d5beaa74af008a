package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weir/conf"
	"weir/internal/printable"
)

// consul is a provider that lists the passing instances of a service in Consul. It uses one endpoint of the API, with its
// blocking queries: a change is answered at once. The client library of Consul would bring 17 modules for this one request.
type consul struct {
	spec    *conf.Discover
	client  *httpClient
	index   uint64  // of the last answer; 0 = the next question does not block
	changed *Answer // found by Wait
}

// prepareConsul reads the files of a specification.
func prepareConsul(spec *conf.Discover) (func(Place) Provider, error) {
	client, err := newHTTPClient(spec)
	return func(Place) Provider { return &consul{spec: spec, client: client} }, err
}

// maxBlock is how long Consul may hold a blocking query.
const maxBlock = 5 * time.Minute

// Ask implements Provider.
func (c *consul) Ask(ctx context.Context) (a Answer, err error) {
	if c.changed != nil {
		a, c.changed = *c.changed, nil
		return a, nil
	}
	a, c.index, err = c.query(ctx, 0, 0)
	return a, err
}

// Wait implements Notifier. A failure of a blocking query is left to the next question. A Consul, or a proxy before it, that does
// not block is asked once in minPause.
func (c *consul) Wait(ctx context.Context) {
	for c.index > 0 && ctx.Err() == nil {
		next := time.Now().Add(minPause)
		block := maxBlock
		if deadline, ok := ctx.Deadline(); ok {
			block = min(block, max(time.Until(deadline), time.Second))
		}
		a, index, err := c.query(ctx, c.index, block)
		if err != nil {
			break
		}
		if index != c.index {
			c.index, c.changed = index, &a
			if index == 0 {
				c.changed = nil
			}
			return
		}
		pause, cancel := context.WithDeadline(ctx, next)
		<-pause.Done()
		cancel()
	}
	<-ctx.Done()
}

// query asks for the instances. With an index, Consul answers when the index has changed or after the time.
func (c *consul) query(ctx context.Context, index uint64, block time.Duration) (Answer, uint64, error) {
	a, next, err := c.instances(ctx, index, block)
	a, err = c.client.repeated.remove(a, err)
	return a, next, err
}

func (c *consul) instances(ctx context.Context, index uint64, block time.Duration) (a Answer, next uint64, err error) {
	at := url.URL{Scheme: "http", Host: c.spec.Address.String(), Path: "/v1/health/service/" + c.spec.Service, RawPath: "/v1/health/service/" + url.PathEscape(c.spec.Service)}
	if c.spec.TLS.On {
		at.Scheme = "https"
	}
	q := url.Values{"passing": {"1"}}
	if c.spec.Tag != "" {
		q.Set("tag", c.spec.Tag)
	}
	if c.spec.Datacenter != "" {
		q.Set("dc", c.spec.Datacenter)
	}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
		q.Set("wait", strconv.FormatInt(block.Milliseconds(), 10)+"ms")
	}
	at.RawQuery = q.Encode()
	res, err := c.client.get(ctx, at.String(), http.Header{})
	if err != nil {
		return a, 0, err
	}
	if res.StatusCode != http.StatusOK {
		detail := ""
		if len(res.body) > 0 {
			detail = fmt.Sprintf(": %q", printable.Clip(string(res.body), printable.MaxQuote))
		}
		return a, 0, fmt.Errorf("want status 200, got %s%s", printable.Clip(res.Status, printable.MaxQuote), detail)
	}
	// An index that is missing or goes backwards starts again, as Consul's documentation asks for.
	next, err = strconv.ParseUint(res.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil || next < index {
		next = 0
	}
	a, err = parseInstances(res.body)
	return a, next, err
}

// instance is an entry of a health query.
type instance struct {
	Node struct {
		Node    string
		Address string
	}
	Service struct {
		ID      string
		Address string
		Port    int
		Tags    []string
		Meta    map[string]string
		Weights struct{ Passing int }
	}
	Checks []struct{ Status string }
}

// parseInstances parses the answer of a health query. Instances with a check that does not pass are left out.
func parseInstances(text []byte) (a Answer, err error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil || list == nil {
		return a, errors.New("want a JSON list of instances")
	}
	for i, raw := range list {
		var s instance
		if err := json.Unmarshal(raw, &s); err != nil {
			a.Reject(fmt.Sprintf("[%d]", i), "want an instance of a service")
			continue
		}
		passing := true
		for _, check := range s.Checks {
			passing = passing && check.Status == "passing"
		}
		if !passing {
			continue
		}
		host := s.Service.Address
		if host == "" {
			host = s.Node.Address
		}
		labels := map[string]string{"node": s.Node.Node, "id": s.Service.ID}
		for name, value := range s.Service.Meta {
			labels["meta_"+name] = value
		}
		if w := s.Service.Weights.Passing; w > 0 {
			labels["weight"] = strconv.Itoa(min(w, maxWeight))
		}
		address := net.JoinHostPort(host, strconv.Itoa(s.Service.Port))
		if host == "" || s.Service.Port == 0 {
			a.Reject(fmt.Sprintf("%s (%s)", address, s.Service.ID), "the instance has no address or no port")
			continue
		}
		a.add(address, labels)
	}
	return a, nil
}
