package nettest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Replication is a real Redis primary with replicas and the Sentinels that watch it under the name MasterName. Servers and
// Sentinels are restarted with the data and the configuration that they had: a Redis without persistence returns empty.
type Replication struct {
	t         testing.TB
	Servers   []*ReplicaServer
	Sentinels []*Sentinel
}

// MasterName is the name that the Sentinels of a Replication monitor.
const MasterName = "mymaster"

// SentinelOptions are the parameters of a Replication.
type SentinelOptions struct {
	DownAfter  time.Duration // down-after-milliseconds; 0 = 1 s
	Replicas   int           // 0 = 2
	Sentinels  int           // 0 = 3
	ServerArgs []string      // for every redis-server
	Host       string        // by which the Sentinels know the primary; "" = its address
	Lines      []string      // for every Sentinel's file, before "sentinel monitor"
	TLS        *Certificates // for the Sentinel, which requires one of its clients too; nil = plain. For one Sentinel
	CLIArgs    []string      // for redis-cli to the Sentinels, such as user and password
}

// ReplicaServer is a redis-server of a Replication.
type ReplicaServer struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	p    *program
}

// Sentinel is a redis-sentinel of a Replication.
type Sentinel struct {
	t    testing.TB
	addr string
	file string
	cli  []string
	p    *program
}

// StartReplication runs a primary, its replicas and Sentinels until the test ends, and waits until all know each other.
func StartReplication(t testing.TB, o SentinelOptions) *Replication {
	t.Helper()
	if o.DownAfter == 0 {
		o.DownAfter = time.Second
	}
	if o.Replicas == 0 {
		o.Replicas = 2
	}
	if o.Sentinels == 0 {
		o.Sentinels = 3
	}
	r := &Replication{t: t}
	primary := Reserve(t)
	host, port, _ := net.SplitHostPort(primary)
	for i := range o.Replicas + 1 {
		s := &ReplicaServer{t: t, addr: primary, dir: t.TempDir(), args: append([]string{"--repl-diskless-sync-delay", "0"}, o.ServerArgs...)}
		if i > 0 {
			s.addr = Reserve(t)
		}
		s.writeConfig(i > 0, host, port)
		s.Up()
		r.Servers = append(r.Servers, s)
	}
	quorum := o.Sentinels/2 + 1
	for range o.Sentinels {
		s := &Sentinel{t: t, addr: Reserve(t), cli: o.CLIArgs}
		s.file = filepath.Join(t.TempDir(), "sentinel.conf")
		ip, own, _ := net.SplitHostPort(s.addr)
		lines := []string{"bind " + ip, "port " + own, "dir " + filepath.Dir(s.file), "daemonize no", "protected-mode no"}
		if o.TLS != nil {
			lines[1] = "port 0"
			lines = append(lines, "tls-port "+own, "tls-ca-cert-file "+o.TLS.CA, "tls-cert-file "+o.TLS.Cert, "tls-key-file "+o.TLS.Key,
				"tls-auth-clients yes")
			s.cli = append([]string{"--tls", "--cacert", o.TLS.CA, "--cert", o.TLS.Cert, "--key", o.TLS.Key}, s.cli...)
		}
		lines = append(lines, o.Lines...)
		lines = append(lines,
			fmt.Sprintf("sentinel monitor %s %s %s %d", MasterName, cmp.Or(o.Host, host), port, quorum),
			fmt.Sprintf("sentinel down-after-milliseconds %s %d", MasterName, o.DownAfter.Milliseconds()),
			fmt.Sprintf("sentinel failover-timeout %s %d", MasterName, max(4*o.DownAfter, 3*time.Second).Milliseconds()),
			"sentinel parallel-syncs "+MasterName+" 5")
		require.NoError(t, os.WriteFile(s.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		s.Up()
		r.Sentinels = append(r.Sentinels, s)
	}
	r.WaitReady(time.Minute)
	return r
}

// WaitReady waits until the Sentinels agree, know each other and can fail over to every replica.
func (r *Replication) WaitReady(within time.Duration) {
	r.t.Helper()
	Wait(r.t, within, "the Sentinels to know all members", func() bool {
		for _, s := range r.Sentinels {
			fields := s.Fields("SENTINEL", "MASTER", MasterName)
			if fields["num-slaves"] != fmt.Sprint(len(r.Servers)-1) || fields["num-other-sentinels"] != fmt.Sprint(len(r.Sentinels)-1) ||
				fields["flags"] != "master" {
				return false
			}
			out := s.CLI("SENTINEL", "REPLICAS", MasterName)
			if strings.Contains(out, "_down") || strings.Contains(out, "disconnected") ||
				strings.Count(out, "master-link-status\nok") != len(r.Servers)-1 {
				return false
			}
		}
		return r.Primary() != nil && r.Agreed()
	})
}

// Agreed reports whether all Sentinels name the same primary with the same epoch.
func (r *Replication) Agreed() bool {
	seen := map[string]bool{}
	for _, s := range r.Sentinels {
		seen[s.Primary()+" "+s.Fields("SENTINEL", "MASTER", MasterName)["config-epoch"]] = true
	}
	return len(seen) == 1
}

// Primary returns the server that a majority of the Sentinels names, or nil.
func (r *Replication) Primary() *ReplicaServer {
	votes := map[string]int{}
	for _, s := range r.Sentinels {
		votes[s.Primary()]++
	}
	for _, server := range r.Servers {
		_, port, _ := net.SplitHostPort(server.addr)
		if votes[server.addr]+votes["localhost:"+port] > len(r.Sentinels)/2 {
			return server
		}
	}
	return nil
}

// SentinelAddrs returns the addresses of the Sentinels.
func (r *Replication) SentinelAddrs() (list []string) {
	for _, s := range r.Sentinels {
		list = append(list, s.addr)
	}
	return list
}

// Failover starts a planned failover at the first Sentinel, repeated until the Sentinel accepts it.
func (r *Replication) Failover() {
	r.t.Helper()
	Wait(r.t, time.Minute, "the Sentinel to begin a failover", func() bool {
		return strings.HasPrefix(r.Sentinels[0].CLI("SENTINEL", "FAILOVER", MasterName), "OK")
	})
}

// writeConfig writes the file that Sentinel has the server rewrite, so that a restarted server keeps its role.
func (s *ReplicaServer) writeConfig(replica bool, host, port string) {
	ip, own, _ := net.SplitHostPort(s.addr)
	lines := []string{"bind " + ip, "port " + own, "dir " + s.dir, `save ""`, "appendonly no", "daemonize no"}
	if replica {
		lines = append(lines, "replicaof "+host+" "+port)
	}
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, "redis.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// Addr returns the server's address.
func (s *ReplicaServer) Addr() string { return s.addr }

// Up starts the server and waits until it answers.
func (s *ReplicaServer) Up() {
	s.t.Helper()
	s.p = startProgram(s.t, "redis-server", append([]string{filepath.Join(s.dir, "redis.conf")}, s.args...)...)
	s.p.waitReady(s.t, 30*time.Second, func() bool {
		reply, err := redisPing(s.addr)
		return err == nil && reply != ""
	})
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (s *ReplicaServer) Kill() { s.p.kill() }

// Pause stops the server with SIGSTOP; its kernel still accepts connections.
func (s *ReplicaServer) Pause() { s.p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues the server after Pause.
func (s *ReplicaServer) Resume() { s.p.cmd.Process.Signal(syscall.SIGCONT) }

// CLI runs redis-cli against the server, and returns its output even if it fails.
func (s *ReplicaServer) CLI(args ...string) string { return redisCLI(s.addr, nil, args...) }

// Addr returns the Sentinel's address.
func (s *Sentinel) Addr() string { return s.addr }

// Up starts the Sentinel with the configuration that it has written.
func (s *Sentinel) Up() {
	s.t.Helper()
	s.p = startProgram(s.t, "redis-sentinel", s.file)
	s.p.waitReady(s.t, 30*time.Second, func() bool { return strings.Contains(s.CLI("PING"), "PONG") })
}

// Kill ends the Sentinel with SIGKILL and returns when it has ended.
func (s *Sentinel) Kill() { s.p.kill() }

// Pause stops the Sentinel with SIGSTOP; its kernel still accepts connections.
func (s *Sentinel) Pause() { s.p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues the Sentinel after Pause.
func (s *Sentinel) Resume() { s.p.cmd.Process.Signal(syscall.SIGCONT) }

// CLI runs redis-cli against the Sentinel, and returns its output even if it fails.
func (s *Sentinel) CLI(args ...string) string { return redisCLI(s.addr, s.cli, args...) }

// Primary returns the address that the Sentinel names, or "".
func (s *Sentinel) Primary() string {
	fields := strings.Fields(s.CLI("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName))
	if len(fields) != 2 {
		return ""
	}
	return net.JoinHostPort(fields[0], fields[1])
}

// Fields runs a command whose reply is names and values.
func (s *Sentinel) Fields(args ...string) map[string]string {
	fields := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(s.CLI(args...), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		fields[lines[i]] = lines[i+1]
	}
	return fields
}

func redisCLI(addr string, options []string, args ...string) string {
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "redis-cli", append(append([]string{"-h", host, "-p", port, "--no-auth-warning"}, options...), args...)...).CombinedOutput()
	return string(out)
}
