// Checks of every type, from the configuration file to the server's state, against real servers.

package health_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// patient and eager are the intervals of checks in tests: patient checks never fail because a machine is busy.
const (
	eager   = "interval = \"1s\"\ntimeout = \"1s\"\n"
	patient = "interval = \"2s\"\ntimeout = \"2s\"\ndown_interval = \"100ms\"\nrise = 1\nfall = 1\n"
)

// watched returns a cluster of one server that is only checked.
func watched(name, server, check string) string { return watchedAt(patient, name, server, check) }

func watchedAt(pace, name, server, check string) string {
	return fmt.Sprintf("[cluster.%[1]s]\nprotected = false\n[[cluster.%[1]s.level]]\nservers = [%[2]q]\n[[cluster.%[1]s.check]]\n%[3]s%[4]s\n",
		name, server+" name=S", pace, check)
}

// watch runs weir with clusters that are only checked, and logs every check.
func watch(t *testing.T, from weirtest.Options, clusters ...string) *weirtest.Weir {
	t.Helper()
	l := weirtest.Config{Listen: "127.0.0.1:65000", Levels: weirtest.OneLevel("127.0.0.1:1"), More: strings.Join(clusters, "")}
	if from.Namespace == nil {
		l.Listen = nettest.Reserve(t)
	}
	return from.Start(t, strings.Replace(l.String(), `level = "info"`, `level = "debug"`, 1))
}

// waitCheck waits for the result of a cluster's check whose detail has a part, and returns it.
func waitCheck(w *weirtest.Weir, cluster string, pass bool, part string) weirtest.Record {
	w.T.Helper()
	return w.WaitRecord(10*time.Second, fmt.Sprintf("a check of %s with %q", cluster, part), func(r weirtest.Record) bool {
		return r.Text("msg") == "check" && r.Text("cluster") == cluster && r["pass"] == pass && strings.Contains(r.Text("detail"), part)
	})
}

// waitTransition waits until the server of a cluster has changed to a state for a reason.
func waitTransition(w *weirtest.Weir, cluster, to, reason string) weirtest.Record {
	w.T.Helper()
	return w.WaitRecord(20*time.Second, fmt.Sprintf("%s to go %s because of %q", cluster, to, reason), func(r weirtest.Record) bool {
		return r["event"] != nil && r.Text("cluster") == cluster && r.Text("to") == to && strings.Contains(r.Text("reason"), reason)
	})
}

// file writes a file for the test.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// certificate writes a self-signed certificate for some addresses, and its key.
func certificate(t *testing.T, ips ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	public, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return file(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}))),
		file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// Checks of servers that need no program of their own.
func TestCheckTypes(t *testing.T) {
	t.Parallel()
	web := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		asked := make([]byte, 4096)
		n, _ := c.Read(asked)
		status, body := "404 Not Found", "no"
		if want := "GET /health?x=1 HTTP/1.1\r\nHost: www.example.com\r\n"; strings.HasPrefix(string(asked[:n]), want) &&
			strings.Contains(string(asked[:n]), "\r\nAuthorization: Bearer hunter2\r\n") {
			status, body = "200 OK", "all is well"
		}
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	})
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo(append([]byte("you said "), b[:n]...), from)
		}
	}()
	t.Cleanup(func() {
		udp.Close()
		<-done
	})
	health := "type = \"http\"\npath = \"/health?x=1\"\nhost = \"www.example.com\"\nheaders = { Authorization = \"Bearer hunter2\" }\n"
	w := watch(t, weirtest.Options{},
		watched("http", web.Addr(), health+"expect = \"is well\""),
		watched("http-code", web.Addr(), "type = \"http\"\npath = \"/nowhere\"\n"),
		watched("http-taken", web.Addr(), "type = \"http\"\npath = \"/nowhere\"\nok_codes = \"2xx,404\"\n"),
		watched("http-text", web.Addr(), health+"expect = \"amiss\""),
		watched("udp", udp.LocalAddr().String(), "type = \"udp\"\nsend = \"0x6869\"\nexpect = \"you said hi\""),
		watched("udp-refused", nettest.Reserve(t), "type = \"udp\"\n"),
		watched("exec", "127.0.0.1:7", `type = "exec"
command = ["sh", "-c", "echo $WEIR_CLUSTER $WEIR_SERVER $WEIR_ADDRESS $WEIR_HOST $WEIR_PORT"]`),
		watched("exec-fails", "127.0.0.1:7", "type = \"exec\"\ncommand = [\"sh\", \"-c\", \"echo sorry; exit 3\"]"),
		watched("exec-signals", "127.0.0.1:7", `type = "exec"
command = ["grep", "-xE", "SigIgn:\t.{12}[02468ace].{3}", "/proc/self/status"]`), // SIGPIPE is 13, and not ignored
		watched("quiet", web.Addr(), "type = \"tcp\"\nquiet = true"),
		watched("refused", nettest.Reserve(t), "type = \"tcp\""),
	)
	waitCheck(w, "http", true, "200 OK")
	waitTransition(w, "http-code", "down", `status: expected 101 102 2xx 3xx, got "404 Not Found"`)
	waitCheck(w, "http-taken", true, "404 Not Found")
	waitTransition(w, "http-text", "down", "amiss")
	waitCheck(w, "udp", true, "")
	waitTransition(w, "udp-refused", "down", "connection refused")
	waitCheck(w, "exec", true, "exec S 127.0.0.1:7 127.0.0.1 7")
	waitTransition(w, "exec-fails", "down", `expected exit code 0, got exit status 3: "sorry"`)
	waitCheck(w, "exec-signals", true, "SigIgn")
	waitCheck(w, "quiet", true, "")
	waitTransition(w, "refused", "down", "connection refused")
	require.NotContains(t, w.Output(), "hunter2")
}

func TestRedisChecks(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-redis"
	open, closed := nettest.StartRedis(t), nettest.StartRedis(t, "--requirepass", password)
	right, wrong := file(t, "right", password+"\n"), file(t, "wrong", password+"-not")
	w := watch(t, weirtest.Options{},
		watched("open", open.Addr(), "type = \"redis\"\nrole = \"primary\""),
		watched("replica", open.Addr(), "type = \"redis\"\nrole = \"replica\""),
		watched("file", closed.Addr(), fmt.Sprintf("type = \"redis\"\npassword_file = %q", right)),
		watched("literal", closed.Addr(), fmt.Sprintf("type = \"redis\"\nuser = \"default\"\npassword = %q", password)),
		watched("none", closed.Addr(), "type = \"redis\""),
		watched("wrong", closed.Addr(), fmt.Sprintf("type = \"redis\"\npassword_file = %q", wrong)),
		watched("needless", open.Addr(), fmt.Sprintf("type = \"redis\"\npassword = %q", password)),
	)
	waitCheck(w, "open", true, ", primary")
	waitTransition(w, "replica", "standby", `role: expected replica, got "primary"`)
	waitCheck(w, "file", true, ", primary")
	waitCheck(w, "literal", true, ", primary")
	waitTransition(w, "none", "down", "NOAUTH")
	waitTransition(w, "wrong", "down", "WRONGPASS")
	waitTransition(w, "needless", "down", "AUTH")

	// The server fails and returns.
	weirtest.RedisCLI(t, open.Addr(), "CONFIG", "SET", "requirepass", password)
	waitTransition(w, "open", "down", "NOAUTH")
	weirtest.RedisCLI(t, open.Addr(), "-a", password, "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
	waitTransition(w, "open", "up", "primary")
	require.NoError(t, syscall.Kill(closed.PID(), syscall.SIGSTOP))
	waitTransition(w, "file", "down", "timed out")
	require.NoError(t, syscall.Kill(closed.PID(), syscall.SIGCONT))
	waitTransition(w, "file", "up", "primary")

	// A changed password file is read at the next reload.
	require.NoError(t, os.WriteFile(wrong, []byte(password), 0o600))
	w.SignalReload("reload")
	waitTransition(w, "wrong", "up", "primary")

	require.NotContains(t, w.Output(), password)
}

// A server that is still loading its data is down until it has finished.
func TestRedisCheckWhileLoading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	redis := nettest.StartRedis(t, "--dir", dir, "--enable-debug-command", "local",
		"--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
	weirtest.RedisCLI(t, redis.Addr(), "DEBUG", "POPULATE", "2000", "key", "100")
	weirtest.RedisCLI(t, redis.Addr(), "SAVE")
	w := watch(t, weirtest.Options{}, watched("redis", redis.Addr(), "type = \"redis\""))
	waitCheck(w, "redis", true, "primary")
	redis.Kill()
	waitTransition(w, "redis", "down", "")
	redis.Up()
	waitTransition(w, "redis", "up", "primary")
	waitCheck(w, "redis", false, "LOADING")
}

func TestRedisCheckWithTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t, "127.0.0.1")
	address := nettest.Reserve(t)
	_, port, _ := net.SplitHostPort(address)
	nettest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	w := watch(t, weirtest.Options{},
		watched("trusted", address, fmt.Sprintf("type = \"redis\"\ntls = true\ntls_ca_file = %q", cert)),
		watched("named", address, fmt.Sprintf("type = \"redis\"\ntls = true\ntls_ca_file = %q\ntls_server_name = \"redis.example\"", cert)),
		watched("unknown", address, "type = \"redis\"\ntls = true"),
		watched("blind", address, "type = \"redis\"\ntls = true\ntls_skip_verify = true"),
		watched("plain", address, "type = \"redis\""),
	)
	waitCheck(w, "trusted", true, "primary")
	waitTransition(w, "named", "down", "redis.example")
	waitTransition(w, "unknown", "down", "unknown authority")
	waitCheck(w, "blind", true, "primary")
	waitTransition(w, "plain", "down", "")
}

// A reload reads the certificate of a check again, although its path is the same.
func TestReloadReadsClientCertificateOfCheck(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t, "127.0.0.1")
	strangerCert, strangerKey := certificate(t, "127.0.0.1")
	address := nettest.Reserve(t)
	_, port, _ := net.SplitHostPort(address)
	nettest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	w := watch(t, weirtest.Options{}, watched("redis", address,
		fmt.Sprintf("type = \"redis\"\ntls = true\ntls_ca_file = %q\ntls_cert_file = %q\ntls_key_file = %q", cert, strangerCert, strangerKey)))
	waitCheck(w, "redis", false, "unknown certificate authority") // or a reset, when that overtakes the alert
	for from, to := range map[string]string{cert: strangerCert, key: strangerKey} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, text, 0o600))
	}
	w.SignalReload("reload")
	waitTransition(w, "redis", "up", "primary")
}

// MariaDB over a network: logins of every kind leave no aborted connection, and never block the host.
func TestMariaDBChecks(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-mariadb"
	own, far := nettest.NewNamespace(t), nettest.NewNamespace(t)
	own.Connect(far, "10.99.0.1", "10.99.0.2")
	cert, key := certificate(t, "10.99.0.2")
	var db *nettest.MariaDB
	far.Do(func() {
		db = nettest.StartMariaDB(t, "--bind-address=0.0.0.0", "--max-connect-errors=5", "--log-warnings=1",
			"--ssl-cert="+cert, "--ssl-key="+key, "--plugin-load-add=auth_ed25519")
	})
	client := func(ns *nettest.Namespace, host, statements string) string {
		_, port, _ := net.SplitHostPort(db.Addr())
		return ns.Exec("mariadb", "--no-defaults", "--protocol=tcp", "--host="+host, "--port="+port, "--user=weir", "--password=secret",
			"--batch", "--skip-column-names", "-e", statements)
	}
	client(far, "127.0.0.1", fmt.Sprintf("CREATE USER native@'%%' IDENTIFIED VIA mysql_native_password USING PASSWORD('%[1]s');"+
		"CREATE USER modern@'%%' IDENTIFIED VIA ed25519 USING PASSWORD('%[1]s');"+
		"CREATE USER secured@'%%' IDENTIFIED BY '%[1]s' REQUIRE SSL;"+
		"GRANT REPLICA MONITOR ON *.* TO native@'%%'", password))
	_, port, _ := net.SplitHostPort(db.Addr())
	server := net.JoinHostPort("10.99.0.2", port)
	as := func(user, more string) string {
		return fmt.Sprintf("type = \"mysql\"\nuser = %q\npassword_file = %q\n%s\n", user, file(t, "password", password), more)
	}
	var clusters []string
	for i := range 16 { // many at once, so that 200 of them take little time
		greeting := "type = \"mysql\""
		if i%2 == 1 {
			greeting += fmt.Sprintf("\ntls = true\ntls_ca_file = %q", cert)
		}
		clusters = append(clusters,
			watchedAt(eager, fmt.Sprintf("greeting-%d", i), server, greeting),
			watchedAt(eager, fmt.Sprintf("login-%d", i), server, as("native", "role = \"primary\"")),
			watchedAt(eager, fmt.Sprintf("quiet-%d", i), server, "type = \"tcp\"\nquiet = true"))
	}
	clusters = append(clusters,
		watched("ed25519", server, as("modern", "query = \"SELECT 1\"")),
		watched("tls", server, as("secured", fmt.Sprintf("tls = true\ntls_ca_file = %q", cert))),
		watched("no-tls", server, as("secured", "")),
		watched("wrong", server, "type = \"mysql\"\nuser = \"native\"\npassword = \""+password+"-not\""),
		watched("nowhere", server, as("native", "database = \"nowhere\"")),
		watched("no-replica", server, as("native", "role = \"replica\"")),
		watched("falsy", server, as("native", "query = \"SELECT 0\"")),
		watched("galera", server, as("native", "galera = true")),
	)
	w := watch(t, weirtest.Options{Namespace: own}, clusters...)
	waitCheck(w, "ed25519", true, "MariaDB")
	waitCheck(w, "tls", true, "MariaDB")
	waitTransition(w, "no-tls", "down", "error 1045")
	waitTransition(w, "wrong", "down", "error 1045")
	waitTransition(w, "nowhere", "down", "error 1044")
	waitTransition(w, "no-replica", "standby", "got no replication")
	waitTransition(w, "falsy", "down", `got "0"`)
	waitTransition(w, "galera", "down", "wsrep")
	passed := func(prefix string) int {
		return len(w.Records(func(r weirtest.Record) bool {
			return r.Text("msg") == "check" && strings.HasPrefix(r.Text("cluster"), prefix) && r["pass"] == true
		}))
	}
	nettest.Wait(t, 30*time.Second, "200 checks", func() bool { return min(passed("greeting"), passed("login"), passed("quiet")) >= 70 })
	waitCheck(w, "login-0", true, ", primary")

	// The host is not blocked.
	require.Equal(t, "1\n", client(own, "10.99.0.2", "SELECT 1"))
	client(far, "127.0.0.1", "SET GLOBAL read_only = 1")
	waitTransition(w, "login-0", "standby", "expected primary (read_only = 0)")
	client(far, "127.0.0.1", "SET GLOBAL read_only = 0")
	waitTransition(w, "login-0", "up", "primary")
	w.Signal(syscall.SIGTERM)
	w.WaitExit(15 * time.Second)
	for _, line := range []string{"Aborted connection", "Got an error reading", "Got timeout"} {
		require.NotContains(t, db.Log(), line)
	}
	require.NotContains(t, w.Output(), password)
}

// A resource that a check needs from this host is reported before anything changes: by weir check, a start and a
// reload.
func TestMissingPasswordFile(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "password")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
	w := weirtest.Start(t, l.String())
	l.Checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"redis\"\npassword_file = %q\n[[cluster.c.check]]\ntype = \"exec\"\ncommand = [%q]\n", missing, missing)
	said := w.FailReload(l.String()).Text("error")
	require.Contains(t, said, "cluster.c.check[0].password_file: open "+missing+": no such file or directory")
	code, out := weirtest.RunCommand(t, "check", "-c", w.File)
	require.Equal(t, 1, code)
	require.Contains(t, out, said)
	require.Contains(t, out, "cluster.c.check[1].command: ")
	require.Regexp(t, `(?m)^`+regexp.QuoteMeta(w.File)+`:\d+:17: cluster\.c\.check\[0\]\.password_file: open `, out, "the place of the value")
	code, started := weirtest.RunCommand(t, "run", "-c", w.File)
	require.Equal(t, 1, code)
	require.Equal(t, out, started, "a start says the same")
	require.NoError(t, os.WriteFile(missing, []byte("x"), 0o700))
	code, out = weirtest.RunCommand(t, "check", "-c", w.File)
	require.Equal(t, 0, code, out)
}

// When sessions have used all of their descriptors, checks continue, and no server goes down.
func TestChecksHaveReservedDescriptors(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	const often = "interval = \"1s\"\ntimeout = \"1s\"\nfall = 5\n" // a busy machine may be late now and then
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A"), Cluster: "protected = false",
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\nexpect = \"A\"\n" + often,
	}
	for i := range 40 { // so many that they would not fit beside the sessions by chance
		l.Checks += fmt.Sprintf("[[cluster.c.check]]\ntype = \"tcp\"\nid = \"check-%d\"\nexpect = \"A\"\n%s", i, often)
	}
	w := weirtest.Options{DescriptorLimit: 400}.Start(t, strings.Replace(l.String(), `level = "info"`, `level = "debug"`, 1))
	full := false
	for range 400 {
		if _, served := weirtest.DialServed(t, l.Listen, 5*time.Second); !served {
			full = true
			break
		}
	}
	require.True(t, full, "sessions have a limit")
	count := func() int {
		return len(w.Records(func(r weirtest.Record) bool { return r.Text("msg") == "check" && r["pass"] == true }))
	}
	before := count()
	nettest.Wait(t, 20*time.Second, "five rounds of checks", func() bool { return count() >= before+205 })
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") }))
	host.Down()
	waitTransition(w, "c", "down", "connection refused")
	host.Reset()
	w.WaitSockets(10 * time.Second)
}
