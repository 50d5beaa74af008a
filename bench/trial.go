package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"time"
)

// trial is one run in progress: its processes and its load.
type trial struct {
	row           row
	window        time.Duration // how long a load lasts
	dir           string        // the run's own directory
	self          string        // this program, for its generators
	target        string        // where clients connect
	serverAddress string        // of the first server
	server        *process      // nil if the load generator is the server as well
	proxy         *process      // nil for a direct run
	hogs          []*process
	probes        int // made of the iperf3 server

	notes notes // what drives the load fills in beside its values
}

// notes show how far a run can be trusted.
type notes struct {
	// GeneratorCores is how many CPUs the load generator used; 1 for a generator of one thread means it was the limit.
	GeneratorCores float64 `json:"generator_cores,omitempty"`
	// OtherCores is how many CPUs were busy with, or taken by, something that is no part of the run.
	OtherCores float64 `json:"other_cores,omitempty"`
	// Failures counts requests that failed during the load.
	Failures int `json:"failures,omitempty"`
}

// open starts the servers and the proxy of a run and returns once a client can connect. close must be called even
// after an error.
func (t *trial) open(ctx context.Context, p product, threads int) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	addresses := []string{loopback(ports[0])}
	if t.row.servers > 1 {
		addresses = loopbackRange(t.row.servers, ports[0])
	}
	argv, err := serverCommand(t.row.kind, t.dir, addresses, ports[0], threads, t.self)
	if err != nil {
		return err
	}
	if argv != nil {
		if t.server, err = startProcess(string(t.row.kind), t.dir, argv); err != nil {
			return err
		}
		if err := t.wait(ctx, t.server, addresses[len(addresses)-1]); err != nil {
			return err
		}
	}
	if t.row.kind == redisServer {
		if err := fillRedis(addresses[0]); err != nil {
			return err
		}
	}
	t.serverAddress, t.target = addresses[0], addresses[0]
	if p.command == nil {
		return t.spin()
	}
	t.target = loopback(ports[1])
	argv, err = p.command(t.dir, forward{
		listen: t.target, servers: addresses, sessions: t.row.sessions, bulk: t.row.kind.streams(), threads: threads,
		checks: t.row.family == familyChecks, udp: t.row.kind.datagrams(), responses: t.row.responses, methods: t.row.methods,
	})
	if err != nil {
		return err
	}
	if t.proxy, err = startProcess(p.name, t.dir, argv); err != nil {
		return err
	}
	if err := t.wait(ctx, t.proxy, t.target); err != nil {
		return err
	}
	return t.spin()
}

// spin starts the processes that compete with the proxy for the CPUs.
func (t *trial) spin() error {
	for i := range t.row.hogs {
		p, err := startProcess(fmt.Sprint("spin-", i), t.dir, []string{t.self, "spin"})
		if err != nil {
			return err
		}
		t.hogs = append(t.hogs, p)
	}
	return nil
}

// wait returns once an address serves.
func (t *trial) wait(ctx context.Context, p *process, address string) error {
	if t.row.kind.datagrams() {
		return p.await(ctx, "answering at "+address, func() bool { return answers(address) })
	}
	if err := p.waitListening(ctx, address); err != nil || t.row.kind != iperfServer {
		return err
	}
	t.probes++ // a test for iperf3, which opens its socket again after each
	return t.server.waitPrinted(ctx, fmt.Sprintf("(test #%d)", t.probes+1))
}

// close stops the proxy and the servers and removes the run's directory.
func (t *trial) close() error {
	for _, p := range append(t.hogs, t.proxy, t.server) {
		if p != nil {
			p.stop()
		}
	}
	return os.RemoveAll(t.dir)
}

// measured is the output of a load generator, and what its load cost.
type measured struct {
	out     []byte
	cpu     time.Duration // of the proxy; 0 for a direct run
	machine time.Duration // CPU time of everything but the hogs
	times   processTimes  // of the proxy
	network tcpCounts
}

// costs returns the cost of each of n units of work.
func (t *trial) costs(m measured, n int) values {
	each := func(total float64) float64 { return total / float64(n) }
	v := values{
		metricMachine: each(micros(m.machine)), metricSegments: each(float64(m.network.sent)), metricPureACKs: each(float64(m.network.pureACKs)),
	}
	if t.proxy == nil {
		return v
	}
	v[metricCPU], v[metricSleeps] = each(micros(m.cpu)), each(float64(m.times.sleeps))
	if total := m.times.user + m.times.system; total > 0 {
		v[metricSystem] = m.times.system.Seconds() / total.Seconds()
	}
	return v
}

// measure runs a load generator to its end and takes the proxy's CPU time from before its first to after its last
// connection, including what the proxy still does right after it.
func (t *trial) measure(ctx context.Context, argv []string) (measured, error) {
	begin := time.Now()
	before, err := t.read()
	if err != nil {
		return measured{}, err
	}
	load, err := generate(ctx, argv)
	if err != nil {
		return measured{}, err
	}
	length := time.Since(begin).Seconds()
	if err := t.settle(ctx); err != nil {
		return measured{}, err
	}
	after, err := t.read()
	if err != nil {
		return measured{}, err
	}
	cpu := after.proxy.since(before.proxy)
	hogs := after.hogs.since(before.hogs)
	own := cpu + after.server.since(before.server) + load.cpu + hogs
	t.notes.GeneratorCores = load.cpu.Seconds() / length
	t.notes.OtherCores = max(0, (after.busy-before.busy-own).Seconds()/time.Since(begin).Seconds())
	return measured{
		out: load.out, cpu: cpu, machine: after.busy - before.busy - hogs,
		times: after.times.since(before.times), network: after.network.since(before.network),
	}, nil
}

// reading is the CPU time spent so far by the parts of a run and by the machine.
type reading struct {
	proxy, server, hogs cpuReading
	busy                time.Duration
	times               processTimes // of the proxy
	network             tcpCounts
}

func (t *trial) read() (r reading, err error) {
	if t.proxy != nil {
		if r.proxy, err = readCPU(t.proxy.pid()); err != nil {
			return r, t.proxy.failure(err)
		}
		if r.times, err = readTimes(t.proxy.pid()); err != nil {
			return r, t.proxy.failure(err)
		}
	}
	if t.server != nil {
		if r.server, err = readCPU(t.server.pid()); err != nil {
			return r, t.server.failure(err)
		}
	}
	r.hogs = cpuReading{}
	for _, p := range t.hogs {
		hog, err := readCPU(p.pid())
		if err != nil {
			return r, p.failure(err)
		}
		maps.Copy(r.hogs, hog)
	}
	if r.network, err = readTCPCounts(); err != nil {
		return r, err
	}
	r.busy, err = readBusy()
	return r, err
}

// settle waits until the proxy is idle: less than 1 ms of CPU time in 20 ms, twice; at most a second.
func (t *trial) settle(ctx context.Context) error {
	if t.proxy == nil {
		return nil
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	last, err := readCPU(t.proxy.pid())
	for calm, tries := 0, 0; err == nil && calm < 2 && tries < 50; tries++ {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var now cpuReading
		now, err = readCPU(t.proxy.pid())
		if calm++; now.since(last) >= time.Millisecond {
			calm = 0
		}
		last = now
	}
	if err != nil {
		return t.proxy.failure(err)
	}
	return nil
}

// hold opens silent sessions and returns the process that keeps them.
func (t *trial) hold(ctx context.Context, sessions int) (*process, error) {
	return t.keep(ctx, holding, "hold", "-sessions", sessions)
}

// holdFlows opens silent flows and returns the process that keeps them.
func (t *trial) holdFlows(ctx context.Context, flows int) (*process, error) {
	return t.keep(ctx, flowsOpen, "flows", "-flows", flows)
}

// keep starts a helper with a number of sessions and returns it once it has printed ready and the machine is quiet.
func (t *trial) keep(ctx context.Context, ready, helper, option string, sessions int) (*process, error) {
	p, err := startProcess(helper, t.dir, []string{t.self, helper, "-target", t.target, option, fmt.Sprint(sessions)})
	if err != nil {
		return nil, err
	}
	if err := p.waitPrinted(ctx, ready); err != nil {
		p.stop()
		return nil, err
	}
	return p, t.settle(ctx)
}

// fillRedis stores the value that redis-benchmark reads: 64 bytes.
func fillRedis(address string) error {
	conn, err := net.DialTimeout("tcp4", address, time.Second)
	if err != nil {
		return err
	}
	value := fmt.Sprintf("%064d", 0)
	if err := ask(conn, fmt.Sprintf("SET %s %s\r\n", benchKey, value), "+OK\r\n"); err != nil {
		return errors.Join(fmt.Errorf("redis-server: %w", err), conn.Close())
	}
	return conn.Close()
}
