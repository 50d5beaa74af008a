// Command demo demonstrates a failover without any installation. It runs three Redis-compatible servers in two levels in
// this process, weir in front of them, and a client that prints every second which servers responded. Type "stop a" to
// see the next server take over.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const configuration = `# Three servers in two levels: c serves only while both a and b are down.
[log]
file = "%s"

[admin]
listen = ["unix:%s", "%s"]

[[listener]]
name = "redis"
address = "%s"
cluster = "redis"

[cluster.redis]
connect_timeout = "500ms"
max_fails = 1
fail_timeout = "2s"
on_down = "close"

[[cluster.redis.level]]
name = "near"
servers = [
  { name = "a", address = "%s", weight = 3 },
  { name = "b", address = "%s" },
]

[[cluster.redis.level]]
name = "far"
servers = [{ name = "c", address = "%s" }]

[[cluster.redis.check]]
type = "tcp"
interval = "500ms"
timeout = "250ms"
rise = 1
fall = 2
`

// run runs the demonstration and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	weir := flags.String("weir", "bin/weir", "the weir `binary`")
	listen := flags.String("listen", "127.0.0.1:6380", "the `address` on which weir listens")
	dashboard := flags.String("dashboard", "", "the loopback `address` of the dashboard; empty = a free port")
	script := flags.Bool("script", false, "stop and start servers by a script, then exit")
	step := flags.Duration("step", 3500*time.Millisecond, "the time between steps of the script")
	if flags.Parse(args) != nil {
		return 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	d := &demo{listen: *listen, dashboard: *dashboard, out: stdout}
	if err := d.start(*weir, stderr); err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		d.copyLog(stderr)
		d.stop()
		return 1
	}
	defer d.stop()
	commands := readLines(stdin)
	if *script {
		commands = runScript(ctx, *step)
	} else {
		d.printHelp()
	}
	return d.watch(ctx, commands, followReloads(ctx, d.socket()))
}

// demo is the servers and the weir process in front of them.
type demo struct {
	listen    string
	dashboard string // address
	out       io.Writer
	servers   []*server
	dir       string
	weir      *exec.Cmd
	exited    chan error
}

// The files of the demonstration.
func (d *demo) config() string { return filepath.Join(d.dir, "weir.toml") }
func (d *demo) socket() string { return filepath.Join(d.dir, "admin.sock") }
func (d *demo) log() string    { return filepath.Join(d.dir, "weir.log") }

type server struct {
	name, address string
	redis         *miniredis.Miniredis // nil while stopped
}

func (s *server) start() error {
	s.redis = miniredis.NewMiniRedis()
	at := s.address
	at = cmp.Or(at, "127.0.0.1:0")
	if err := s.redis.StartAddr(at); err != nil {
		s.redis = nil
		return err
	}
	s.address = s.redis.Addr()
	return s.redis.Set("name", s.name)
}

func (s *server) stop() {
	if s.redis != nil {
		s.redis.Close()
		s.redis = nil
	}
}

func (d *demo) start(binary string, stderr io.Writer) error {
	for _, name := range []string{"a", "b", "c"} {
		s := &server{name: name}
		if err := s.start(); err != nil {
			return fmt.Errorf("server %s: %w", name, err)
		}
		d.servers = append(d.servers, s)
	}
	var err error
	if d.dir, err = os.MkdirTemp("", "weir-demo-"); err != nil {
		return err
	}
	if d.dashboard == "" {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		d.dashboard = free.Addr().String()
		free.Close()
	}
	text := fmt.Sprintf(configuration, d.log(), d.socket(), d.dashboard, d.listen, d.servers[0].address, d.servers[1].address, d.servers[2].address)
	if err := os.WriteFile(d.config(), []byte(text), 0o644); err != nil {
		return err
	}
	d.weir = exec.Command(binary, "run", "-c", d.config())
	d.weir.Stderr = stderr
	if err := d.weir.Start(); err != nil {
		d.weir = nil
		return fmt.Errorf("%w (build it with: make build)", err)
	}
	d.exited = make(chan error, 1)
	go func() { d.exited <- d.weir.Wait() }()
	for deadline := time.Now().Add(5 * time.Second); ; {
		if _, err := ask(d.listen); err == nil {
			return nil
		}
		select {
		case err := <-d.exited:
			d.exited <- err
			return fmt.Errorf("weir did not start: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("weir does not respond")
		}
	}
}

func (d *demo) stop() {
	if d.weir != nil {
		d.weir.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.exited:
		case <-time.After(2 * time.Second):
			d.weir.Process.Kill()
			<-d.exited
		}
	}
	for _, s := range d.servers {
		s.stop()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

func (d *demo) printHelp() {
	host, port, _ := net.SplitHostPort(d.listen)
	fmt.Fprintf(d.out, `
weir listens on %s in front of three Redis servers:

  level near   a  %s  (weight 3)
               b  %s
  level far    c  %s

Every second, a client asks eight times through weir which server responds. Commands:

  stop a        b takes over; after stop b, c takes over; no client sees an error
  start a       the first level serves again
  quit

In another terminal, if redis-cli is installed:

  redis-cli -h %s -p %s GET name

The dashboard (read-only):   http://%s/
Commands for this weir:      export WEIR_ADMIN=unix:%s
                             weir status, weir top, weir server redis/a drain
The configuration:           %s
To reload it after a change: kill -HUP %d
The log:                     %s

`, d.listen, d.servers[0].address, d.servers[1].address, d.servers[2].address, host, port,
		d.dashboard, d.socket(), d.config(), d.weir.Process.Pid, d.log())
}

// copyLog writes the log of a weir that did not start.
func (d *demo) copyLog(to io.Writer) {
	if text, err := os.ReadFile(d.log()); err == nil && d.dir != "" {
		to.Write(text)
	}
}

// watch prints every second which servers respond, if that changed, carries out commands and acknowledges reloads.
func (d *demo) watch(ctx context.Context, commands, reloads <-chan string) int {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, failures := "", 0
	for {
		select {
		case <-ctx.Done():
			return 0
		case err := <-d.exited:
			d.exited <- err
			fmt.Fprintln(d.out, "weir has exited:", err)
			return 1
		case command, open := <-commands:
			if !open || command == "quit" {
				if failures > 0 {
					return 1
				}
				return 0
			}
			d.do(command)
		case text := <-reloads:
			fmt.Fprintf(d.out, "%s  %s\n", time.Now().Format("15:04:05"), text)
		case <-tick.C:
			line, failed := d.sample()
			failures += failed
			if line != last {
				fmt.Fprintf(d.out, "%s  %s\n", time.Now().Format("15:04:05"), line)
				last = line
			}
		}
	}
}

// do carries out a command.
func (d *demo) do(command string) {
	verb, name, _ := strings.Cut(strings.TrimSpace(command), " ")
	for _, s := range d.servers {
		if s.name != name {
			continue
		}
		switch {
		case verb == "stop":
			s.stop()
			fmt.Fprintf(d.out, "          server %s is stopped\n", s.name)
		case verb == "start" && s.redis == nil:
			if err := s.start(); err != nil {
				fmt.Fprintln(d.out, "         ", err)
				return
			}
			fmt.Fprintf(d.out, "          server %s is started\n", s.name)
		}
		return
	}
	if command != "" {
		fmt.Fprintln(d.out, "          commands: stop a, start a (or b, c), quit")
	}
}
