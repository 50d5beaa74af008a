// Charts of the last hour, drawn by uPlot.

const chartHeight = 116;
const hour = 3600; // seconds

// A chart has lines of a history document: its key, its colour, its label, and whether it may have gaps.
const chartKinds = [
  { title: "Sessions", format: size, lines: [["sessions", "--accent", ""]] },
  { title: "New sessions/s", format: rate, lines: [["new_sessions_per_second", "--accent", ""]] },
  { title: "Bytes/s", format: size, lines: [["bytes_up_per_second", "--accent", "up"], ["bytes_down_per_second", "--green", "down"]] },
  { title: "Dial errors/s", format: rate, lines: [["dial_failures_per_second", "--red", ""]] },
  { title: "Dial time", format: millis, points: true, lines: [["dial_p50_ms", "--accent", "p50"], ["dial_p99_ms", "--amber", "p99"]] },
];

function millis(ms) { return ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : Number(ms.toPrecision(3)) + " ms"; }

function hourMinute(t) { return new Date(t * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }); }

function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// Charts are the charts of one object inside an element.
class Charts {
  constructor(host, cluster, server) {
    this.host = host;
    this.query = new URLSearchParams();
    if (cluster) this.query.set("cluster", cluster);
    if (server) this.query.set("server", server);
    this.note = el("p", { class: "quiet" }, "loading the last hour …");
    this.charts = chartKinds.map((kind) => {
      const head = el("figcaption", {}, el("b", {}, kind.title), " ", el("span", { class: "quiet" }));
      const e = el("figure", { class: "chart", role: "img" }, head);
      return { kind, e, read: head.lastChild, plot: null };
    });
    this.grid = el("div", { class: "charts", hidden: "" }, ...this.charts.map((c) => c.e));
    host.replaceChildren(this.note, this.grid);
    this.due = 0;
  }

  // refresh loads the history if there may be a new point, and draws it.
  async refresh() {
    if (this.loading || performance.now() < this.due) return;
    this.loading = true;
    try {
      const h = await call("GET", "/v1/history?" + this.query);
      this.due = performance.now() + 1000 * Math.min(h.times.length ? h.step_seconds : 2, 10);
      this.show(h);
    } catch (err) {
      this.due = performance.now() + 5000;
      text(this.note, err.message);
      this.note.hidden = false;
    } finally {
      this.loading = false;
    }
  }

  show(h) {
    text(this.note, h.omitted ? "No history: the memory for it is used up by other servers." : "No points yet: there is one every " + h.step_seconds + " seconds.");
    this.note.hidden = h.times.length > 0;
    this.grid.hidden = h.times.length === 0;
    if (h.times.length === 0) return;
    this.step = h.step_seconds;
    const times = h.times.map((t) => Date.parse(t) / 1000);
    this.end = times[times.length - 1];
    for (const c of this.charts) this.draw(c, withGaps([times, ...c.kind.lines.map(([key]) => h[key])], this.step));
  }

  draw(c, data) {
    c.data = data;
    const known = data.slice(1).map((ys) => ys.filter((y) => y !== null));
    c.peaks = known.map((ys) => ys.reduce((a, b) => Math.max(a, b), 0));
    c.empty = known.every((ys) => ys.length === 0);
    if (!c.plot) {
      c.plot = new uPlot(this.options(c), data, c.e);
      new ResizeObserver(() => this.fit(c)).observe(c.e);
    } else {
      c.plot.setData(data);
    }
    if (c.plot.cursor.idx === null || c.plot.cursor.idx === undefined) this.readout(c, null);
    c.e.setAttribute("aria-label", c.kind.title + ", last hour: " + c.read.textContent);
  }

  fit(c) {
    const width = Math.floor(c.e.clientWidth);
    if (width > 0 && width !== c.plot.width) c.plot.setSize({ width, height: chartHeight });
  }

  // readout shows the values under the pointer, else the latest ones and the peaks.
  readout(c, i) {
    const at = i === null ? c.data[0].length - 1 : i;
    const values = c.kind.lines.map(([, , label], n) => {
      const y = c.data[n + 1][at];
      return (label ? label + " " : "") + (y === null || y === undefined ? "–" : c.kind.format(y)) + (i === null && !c.empty ? ", peak " + c.kind.format(c.peaks[n]) : "");
    });
    text(c.read, (i === null ? "" : hourMinute(c.data[0][at]) + " ") + values.join(" · "));
  }

  options(c) {
    const axis = { stroke: () => color("--quiet"), grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    return {
      width: Math.max(100, Math.floor(c.e.clientWidth)), height: chartHeight, legend: { show: false }, padding: [6, 16, 0, 0],
      cursor: { drag: { x: false, y: false, setScale: false }, y: false, points: { size: 5 } },
      scales: { x: { time: true, range: () => [this.end - hour, this.end] }, y: { range: (u, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, size: 20, space: 60, values: (u, splits) => splits.map(hourMinute) },
        { ...axis, size: 46, space: 28, values: (u, splits) => splits.map((y) => c.kind.format(y)) },
      ],
      series: [{}, ...c.kind.lines.map(([, name]) => ({ stroke: () => color(name), width: 1.5, points: { show: Boolean(c.kind.points), size: 3, fill: () => color(name) } }))],
      hooks: { setCursor: [(u) => this.readout(c, u.cursor.idx ?? null)] },
    };
  }

  redraw() { for (const c of this.charts) if (c.plot) c.plot.redraw(); }

  close() { for (const c of this.charts) if (c.plot) c.plot.destroy(); }
}

// withGaps adds a point without values where points are missing, as after a pause of the process.
function withGaps(data, step) {
  const out = data.map(() => []);
  data[0].forEach((t, i) => {
    if (i > 0 && t - data[0][i - 1] > 3 * step) {
      out[0].push(t - step);
      for (const ys of out.slice(1)) ys.push(null);
    }
    data.forEach((ys, n) => out[n].push(ys[i]));
  });
  return out;
}

// nodeCharts shows the charts of all clusters in the page, while they are unfolded.
const nodeCharts = new Charts($("node-charts"), "", "");
const openCharts = new Map(); // by cluster: the Charts that the user has opened
let serverCharts = null;      // of the dialog

$("hour").open = innerWidth > 640;
$("hour").addEventListener("toggle", () => refreshCharts());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const c of shownCharts()) c.redraw(); });

function shownCharts() {
  return [...($("hour").open ? [nodeCharts] : []), ...[...openCharts.values()].filter((c) => c.host.isConnected), ...(serverCharts ? [serverCharts] : [])];
}

function refreshCharts() { return Promise.all(shownCharts().map((c) => c.refresh())); }
