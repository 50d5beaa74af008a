package soak

// The providers of servers: a file and a URL whose answers change, fail and are garbage.

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// provider is the provider of a cluster. Its servers come and go.
type provider struct {
	cluster int
	servers []serverAddr
	publish func(answer)

	listed []string          // names in the last good answer
	away   map[string]func() // ends the absence of each other one
	weight map[string]int    // of those in the last good answer
}

// answer is what a provider gives.
type answer struct {
	text   string
	status int           // of HTTP
	delay  time.Duration // of HTTP
}

const (
	providerInterval = 300 * time.Millisecond
	providerTimeout  = 700 * time.Millisecond

	// answerTime is how long after a change its servers are in force at the latest, also on a busy machine.
	answerTime = 15 * time.Second
)

// fileProvider returns the provider that a file feeds, and its keys.
func fileProvider(path string, servers []serverAddr, fail func(format string, args ...any)) (*provider, string) {
	p := newProvider(fileCluster, servers, func(a answer) {
		err := os.WriteFile(path+".new", []byte(a.text), 0o644)
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			fail("%v", err)
		}
	})
	return p, fmt.Sprintf("type = \"file\"\npath = %q\ninterval = %q\n", path, providerInterval)
}

// httpProvider returns the provider that a server of HTTP feeds, and its keys.
func httpProvider(at string, servers []serverAddr, source *httpSource) (*provider, string) {
	return newProvider(httpCluster, servers, source.set), fmt.Sprintf("type = \"http\"\nurl = \"http://%s/servers\"\ninterval = %q\ntimeout = %q\n", at, providerInterval, providerTimeout)
}

func newProvider(cluster int, servers []serverAddr, publish func(answer)) *provider {
	p := &provider{cluster: cluster, publish: publish, away: map[string]func(){}}
	for _, s := range servers {
		if s.cluster == cluster {
			p.servers = append(p.servers, s)
		}
	}
	return p
}

// httpSource answers questions over HTTP.
type httpSource struct {
	mu  sync.Mutex
	now answer
}

func (h *httpSource) set(a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = a
}

func (h *httpSource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	a := h.now
	h.mu.Unlock()
	select {
	case <-time.After(a.delay):
	case <-r.Context().Done():
		return
	}
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.text))
}

// listing returns the answer that lists servers.
func (p *provider) listing(weights map[string]int) string {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	all := []group{}
	for _, s := range p.servers {
		if weight, ok := weights[s.name]; ok {
			all = append(all, group{[]string{s.address}, map[string]string{"name": s.name, "weight": fmt.Sprint(weight), "rack": "soak"}})
		}
	}
	text, _ := json.Marshal(all)
	return string(text)
}

// good returns an answer with the servers in force.
func (p *provider) good() answer { return answer{text: p.listing(p.weight), status: http.StatusOK} }

// startProviders starts the providers, which list all servers, and writes their keys into the first configuration.
func (s *soak) startProviders(dir string) (stop func(), err error) {
	source := &httpSource{}
	ln, err := net.Listen("tcp", address(130, 7000))
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: source}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(ln) })
	k := s.faults
	for i, prepare := range []func() (*provider, string){
		func() (*provider, string) {
			return fileProvider(filepath.Join(dir, "servers.json"), k.first.servers, k.verifier.report)
		},
		func() (*provider, string) { return httpProvider(ln.Addr().String(), k.first.servers, source) },
	} {
		p, keys := prepare()
		k.providers = append(k.providers, p)
		k.first.clusters[fileCluster+i].discover = keys
	}
	k.listAll()
	return func() { _ = server.Close(); work.Wait() }, nil
}

// list makes a provider list servers, and waits until they are in force. A server is absent from before the change that
// removes it until after the change that lists it again is in force.
func (k *faultInjector) list(p *provider, weights map[string]int) {
	p.weight, p.listed = weights, nil
	for _, s := range p.servers {
		if _, ok := weights[s.name]; ok {
			p.listed = append(p.listed, s.name)
		} else if p.away[s.name] == nil {
			p.away[s.name] = k.faultLog.begin(absent, s.name)
		}
	}
	p.publish(p.good())
	if k.weir == nil { // before the start
		return
	}
	k.awaitAnswer(p, "the servers of its last answer", func(d *discovered) bool { return d.Error == "" && slices.Equal(d.servers(), p.listed) })
	for _, name := range p.listed {
		if over := p.away[name]; over != nil {
			over()
			delete(p.away, name)
		}
	}
}

// discovered is what weir shows of a provider.
type discovered struct {
	Error      string `json:"error"`
	EmptySince string `json:"empty_since"`
	BadEntries int    `json:"bad_entries"`
	Entries    []struct {
		Server string `json:"server"`
	} `json:"entries"`
}

func (d *discovered) servers() (names []string) {
	for _, e := range d.Entries {
		names = append(names, e.Server)
	}
	slices.Sort(names)
	return names
}

// awaitAnswer waits until weir's view of a provider is as wanted, and reports a problem if that takes too long.
func (k *faultInjector) awaitAnswer(p *provider, what string, is func(*discovered) bool) {
	var text []byte
	var err error
	for begun := time.Now(); time.Now().Before(k.faultLog.after(begun, answerTime)); time.Sleep(50 * time.Millisecond) {
		var all struct{ Providers []discovered }
		if text, err = k.weir.call(http.MethodGet, "/v1/clusters/"+clusterName(p.cluster)+"/discover", ""); err == nil {
			err = json.Unmarshal(text, &all)
		}
		if err == nil && len(all.Providers) == 1 && is(&all.Providers[0]) {
			return
		}
	}
	k.verifier.report("the provider of %s does not show %s %v: %s %v", clusterName(p.cluster), what, p.listed, text, err)
}

// garbage are answers that must change nothing, with what weir then shows.
var garbage = []struct {
	answer
	shown func(*discovered) bool
}{
	{answer{"", 200, 0}, (*discovered).fails},
	{answer{"[]", 200, 0}, func(d *discovered) bool { return d.EmptySince != "" }},
	{answer{`{"targets": []}`, 200, 0}, (*discovered).fails},
	{answer{`[{"targets": ["127.0.0.1:1", "12`, 200, 0}, (*discovered).fails},
	{answer{`[{"targets": ["nonsense", "0.0.0.0:1"]}, null, 7]`, 200, 0}, (*discovered).fails},
	{answer{"\x00\xff<html>", 200, 0}, (*discovered).fails},
	{answer{"[]", 500, 0}, (*discovered).fails}, // this and those below: HTTP only
	{answer{"[]", 404, 0}, (*discovered).fails},
	{answer{"[]", 200, 2 * providerTimeout}, (*discovered).fails},
}

const fileGarbage = 6

func (d *discovered) fails() bool { return d.Error != "" }

// changeProviders changes what providers list, and makes them fail.
func (k *faultInjector) changeProviders(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 100*time.Millisecond, 2500*time.Millisecond) {
		p := k.providers[r.IntN(len(k.providers))]
		if r.IntN(3) > 0 {
			weights := map[string]int{}
			for _, s := range p.servers {
				if r.IntN(3) > 0 {
					weights[s.name] = 1 + r.IntN(9)
				}
			}
			if len(weights) > 0 {
				k.list(p, weights)
				k.listings.Add(1)
			}
			continue
		}
		most := len(garbage)
		if p.cluster == fileCluster {
			most = fileGarbage
		}
		bad := garbage[r.IntN(most)]
		p.publish(bad.answer)
		k.awaitAnswer(p, "a problem and "+bad.text, func(d *discovered) bool { return bad.shown(d) && slices.Equal(d.servers(), p.listed) })
		k.garbled.Add(1)
		sleep(ctx, r, 100*time.Millisecond, 2*time.Second)
		slowly := p.good()
		slowly.delay = time.Duration(r.Int64N(int64(providerTimeout / 2)))
		p.publish(slowly)
		k.awaitAnswer(p, "its last answer", func(d *discovered) bool {
			return d.Error == "" && d.EmptySince == "" && slices.Equal(d.servers(), p.listed)
		})
	}
}

// listAll makes all providers list all of their servers.
func (k *faultInjector) listAll() {
	for _, p := range k.providers {
		weights := map[string]int{}
		for _, s := range p.servers {
			weights[s.name] = 1
		}
		k.list(p, weights)
	}
}
