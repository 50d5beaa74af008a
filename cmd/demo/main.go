// Command demo demonstrates a failover without any installation. It runs three Redis-compatible servers in two levels in
// this process, weir in front of them, and a client that prints every second which servers responded. Type "stop a" to
// see the next server take over.
package main

import (
	"bufio"
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
level = "warn"

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
	script := flags.Bool("script", false, "stop and start servers by a script, then exit")
	step := flags.Duration("step", 3500*time.Millisecond, "the time between steps of the script")
	if flags.Parse(args) != nil {
		return 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	d := &demo{listen: *listen, out: stdout}
	if err := d.start(*weir, stderr); err != nil {
		fmt.Fprintln(stderr, "demo:", err)
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
	return d.watch(ctx, commands)
}

// demo is the servers and the weir process in front of them.
type demo struct {
	listen  string
	out     io.Writer
	servers []*server
	dir     string
	weir    *exec.Cmd
	exited  chan error
}

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
	file := filepath.Join(d.dir, "weir.toml")
	text := fmt.Sprintf(configuration, d.listen, d.servers[0].address, d.servers[1].address, d.servers[2].address)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	d.weir = exec.Command(binary, "run", "-c", file)
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

The configuration is %s.
To reload it after a change: kill -HUP %d

`, d.listen, d.servers[0].address, d.servers[1].address, d.servers[2].address, host, port,
		filepath.Join(d.dir, "weir.toml"), d.weir.Process.Pid)
}

// watch prints every second which servers respond, if that changed, and carries out commands.
func (d *demo) watch(ctx context.Context, commands <-chan string) int {
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
		case <-tick.C:
			var seen []string
			for range 8 {
				name, err := ask(d.listen)
				if err != nil {
					name = "error: " + err.Error()
					failures++
				}
				seen = append(seen, name)
			}
			line := strings.Join(seen, " ")
			if line != last {
				fmt.Fprintf(d.out, "%s  served by  %s\n", time.Now().Format("15:04:05"), line)
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

// ask opens a session through weir and returns the name of the server that responds.
func ask(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // the length of the bulk string
		return "", err
	}
	name, err := r.ReadString('\n')
	return strings.TrimSpace(name), err
}

// readLines returns a channel of the lines of in, which is closed at its end.
func readLines(in io.Reader) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(in); s.Scan(); {
			c <- strings.TrimSpace(s.Text())
		}
	}()
	return c
}

// runScript returns a channel of commands for a failover through both levels and back.
func runScript(ctx context.Context, step time.Duration) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for _, command := range []string{"stop a", "stop b", "start a", "start b", "quit"} {
			select {
			case <-time.After(step):
			case <-ctx.Done():
				return
			}
			c <- command
		}
	}()
	return c
}
