package discovery

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

const repeatedSecret = "tok-7f3a9c51e0b84d22"

// requireHidden fails if an answer or its error shows a secret, and returns all their texts.
func requireHidden(t *testing.T, r *Result) string {
	t.Helper()
	text, err := json.Marshal(r.Answer)
	require.NoError(t, err)
	all := fmt.Sprint(string(text), r.Err)
	require.NotContains(t, all, repeatedSecret[:12])
	require.NotContains(t, all, repeatedSecret[8:])
	return all
}

// A source that repeats its token, a header, or a part of its URL in labels, addresses, options, bad entries or errors does not
// make it public.
func TestSourceThatRepeatsSecrets(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(repeatedSecret+"\n"), 0o600))
	for name, spec := range map[string]conf.Discover{
		"token":    {TokenFile: token},
		"header":   {Headers: []conf.Header{{Name: "X-Api-Key", Value: repeatedSecret}}},
		"password": {URL: "http://u:" + repeatedSecret + "@HOST/list"},
		"query":    {URL: "http://HOST/list?key=" + repeatedSecret},
		"path":     {URL: "http://HOST/" + repeatedSecret + "/list"},
	} {
		for _, kind := range []string{"http", "consul"} {
			if kind == "consul" && spec.URL != "" {
				continue
			}
			for _, code := range []int{200, 500} {
				spec, s := spec, repeatedSecret
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.WriteHeader(code)
					if kind == "consul" {
						fmt.Fprintf(w, `[{"Node": {"Address": "10.0.0.1", "Node": %q}, "Service": {"ID": "a", "Port": 1, "Meta": {"%s": "x"}}}, {"Service": {"ID": %q}}]`, s, s, s)
						return
					}
					fmt.Fprintf(w, `[{"targets": ["10.0.0.1:1"], "labels": {"a": "is %s", "%s": "x"}}, {"targets": ["10.0.0.2 %s"]}, {"targets": [{"x": %q}]},
						{"targets": ["10.0.0.3:3"], "labels": {"weight": %q}}, {"targets": ["10.0.0.4:4"], "labels": {"b": {}, "%s": {}}}]`, s, s, s, s, s, s)
				}))
				spec.Type, spec.URL = kind, strings.Replace(spec.URL, "HOST", server.Listener.Addr().String(), 1)
				if spec.URL == "" {
					spec.URL = server.URL
				}
				if kind == "consul" {
					spec.URL, spec.Service = "", "a"
					spec.Address = conf.Address{Addr: server.Listener.Addr().(*net.TCPAddr).AddrPort()}
				}
				source, err := Prepare(&spec)
				require.NoError(t, err)
				r := Ask(t.Context(), source.New(Place{}), 5*time.Second)
				all := requireHidden(t, r)
				if code == 200 {
					require.NoError(t, r.Err)
					require.Equal(t, "10.0.0.1:1", r.Answer.Entries[0].Address)
					require.Contains(t, all, "***", "%s %s", kind, name)
				} else {
					require.ErrorContains(t, r.Err, "500")
				}
				server.Close()
			}
		}
	}
}

// A status line, or a host name, is a text of the source too.
func TestErrorAndAddressThatRepeatToken(t *testing.T) {
	r := repeatedOf(&conf.Discover{Type: "http", URL: "http://sd/"}, repeatedSecret)
	a, err := r.remove(Answer{}, fmt.Errorf("want status 200, got 500 %s", repeatedSecret))
	require.Empty(t, a.Entries)
	require.EqualError(t, err, "want status 200, got 500 ***")
	a, _ = r.remove(Answer{Entries: []Entry{{FoundServer: conf.FoundServer{Address: repeatedSecret + ":80"}}, {FoundServer: conf.FoundServer{Address: "10.0.0.1:80"}}}}, nil)
	require.Len(t, a.Entries, 1)
	require.Equal(t, []BadEntry{{"***:80", "it repeats a secret of the question"}}, a.Bad)
	_, err = r.remove(Answer{}, ErrUnchanged)
	require.ErrorIs(t, err, ErrUnchanged)
}

// The arguments of a program are secret; addresses like them are not.
func TestProgramThatRepeatsArguments(t *testing.T) {
	list := `[{"targets": ["10.0.0.1:3306"], "labels": {"a": "` + repeatedSecret + `"}}]`
	for _, script := range []string{"echo '" + list + "'", "echo '" + list + "' >&2; exit 1"} {
		spec := conf.Discover{Type: "exec", Command: []string{"/bin/sh", "-c", script}}
		source, err := Prepare(&spec)
		require.NoError(t, err)
		r := Ask(t.Context(), source.New(Place{}), 5*time.Second)
		requireHidden(t, r)
		if r.Err == nil {
			require.Equal(t, "10.0.0.1:3306", r.Answer.Entries[0].Address)
		}
	}
}
