// Rates computes rates per second from the counters of two status documents.

class Rates {
  // before is the Rates of the previous document, or null.
  constructor(doc, before) {
    this.at = doc.uptime_seconds;
    this.pid = doc.pid;
    this.servers = new Map();
    this.clusters = new Map();
    this.listeners = new Map();
    for (const c of doc.clusters) {
      this.clusters.set(c.name, this.counts(c));
      for (const l of c.levels) for (const s of l.servers) this.servers.set(c.name + "/" + s.name, this.counts(s));
    }
    for (const l of doc.listeners) this.listeners.set(l.protocol + " " + l.address, this.counts(l));
    this.before = before && before.pid === this.pid && before.at < this.at ? before : null;
    if (this.before) this.before.before = null;
  }

  counts(x) { return { sessions: x.sessions_total, up: x.bytes_up, down: x.bytes_down, failures: x.dial_failures }; }

  // grown returns the growth of counters per second.
  grown(now, then) {
    if (!this.before || !now || !then) return {};
    const t = this.at - this.before.at;
    const per = (key) => Math.max(0, now[key] - then[key]) / t;
    return { sessions: per("sessions"), up: per("up"), down: per("down"), failures: now.failures === undefined ? undefined : per("failures") };
  }

  sum(list) {
    const known = list.filter((r) => r.sessions !== undefined);
    if (known.length === 0) return {};
    return known.reduce((a, b) => ({ sessions: a.sessions + b.sessions, up: a.up + b.up, down: a.down + b.down }));
  }

  server(cluster, name) {
    const key = cluster + "/" + name;
    return this.grown(this.servers.get(key), this.before && this.before.servers.get(key));
  }

  cluster(c) { return this.grown(this.clusters.get(c.name), this.before && this.before.clusters.get(c.name)); }

  listener(l) {
    const key = l.protocol + " " + l.address;
    return this.grown(this.listeners.get(key), this.before && this.before.listeners.get(key));
  }

  all(doc) { return this.sum(doc.listeners.map((l) => this.listener(l))); }
}
