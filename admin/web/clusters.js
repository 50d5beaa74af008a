// Clusters with their levels and servers. Servers of large clusters that are up are counted, and shown on request.

const fewServers = 20; // a cluster with more is large
const manyServers = 1000; // with more in all, every cluster is large
const mostRows = 500; // maximum per level
const expanded = new Set(); // names of large clusters with all servers shown
const all = { servers: 0 }; // of the last document

function filterText() { return $("filter").value.trim().toLowerCase(); }

// largeAbove returns the number of servers above which a cluster is large.
function largeAbove() { return all.servers > manyServers ? 0 : fewServers; }

// statusPath returns the path of the document, without servers that the page does not list.
function statusPath() { return "/v1/status" + (filterText() || expanded.size ? "" : "?max_servers=" + largeAbove()); }

function showClusters(doc, rates) {
  const wanted = filterText();
  all.servers = doc.clusters.reduce((n, c) => n + countServers(c), 0);
  const list = wanted ? doc.clusters.filter((c) => c.name.toLowerCase().includes(wanted) || c.levels.some((l) => l.servers.some((s) => matches(s, wanted)))) : doc.clusters;
  keyed($("clusters"), list, (c) => c.name, makeCluster, (e, c) => showCluster(e, c, rates, c.name.toLowerCase().includes(wanted) ? "" : wanted));
  $("no-match").hidden = list.length > 0 || !wanted;
}

const countLevel = (l) => l.servers.length + (l.omitted ? l.omitted.servers : 0);
const countServers = (c) => c.levels.reduce((n, l) => n + countLevel(l), 0);

function makeCluster(c) {
  const e = el("section", { class: "cluster", id: "cluster-" + c.name, "aria-label": "cluster " + c.name });
  e.head = el("div");
  e.name = el("h2", {}, c.name);
  e.facts = el("span", { class: "quiet" });
  e.bad = el("span", { class: "bad" });
  e.back = el("button", { type: "button", hidden: "", title: "let a better level take over" }, "Fail back");
  e.back.addEventListener("click", () => act(e.back, () => call("POST", "/v1/clusters/" + encodeURIComponent(c.name) + "/failback")));
  e.all = el("button", { type: "button", class: "link", hidden: "" });
  e.all.addEventListener("click", () => {
    if (!expanded.delete(c.name)) expanded.add(c.name);
    redraw();
  });
  e.chart = el("button", { type: "button", class: "link", "aria-expanded": "false" }, "charts");
  e.chart.addEventListener("click", () => toggleCharts(e, c.name));
  e.graphs = el("div", { hidden: "" });
  e.head.append(e.name, e.bad, e.facts, e.back, e.chart, e.all);
  e.table = el("table", { class: "servers" },
    el("colgroup", {}, ...["c-name", "c-state", "c-peak", "c-n", "c-n", "c-n", "c-n", "c-n", ""].map((c) => el("col", { class: c }))),
    el("thead", {}, el("tr", {}, el("th", {}, "Server"), el("th", {}, "State"), ...[["Sessions", "now, and the most at one time since the start"], ["New/s", "sessions connected per second"], ["Up/s", "bytes per second from clients"], ["Down/s", "bytes per second to clients"],
        ["Errors", "dials that the server refused or did not answer, since the start"], ["Weight", ""]].map(([h, title]) => el("th", { class: "n", title }, h)), el("th", { class: "why" }, "Reason"))));
  e.append(e.head, e.graphs, e.table);
  e.bodies = el("tbody");
  e.table.append(e.bodies);
  return e;
}

function toggleCharts(e, name) {
  const open = openCharts.get(name);
  if (open) open.close();
  e.graphs.replaceChildren();
  e.graphs.hidden = Boolean(open);
  e.chart.setAttribute("aria-expanded", String(!open));
  if (open) {
    openCharts.delete(name);
    return;
  }
  openCharts.set(name, new Charts(e.graphs, name, ""));
  refreshCharts();
}

function showCluster(e, c, rates, wanted) {
  const r = rates.cluster(c);
  const servers = countServers(c);
  text(e.bad, !c.level ? "no level in use" : c.empty ? "no healthy server" : "");
  className(e, e.bad.textContent ? "cluster broken" : "cluster");
  text(e.facts, [c.balance, c.level && "level " + c.level + " in use", say(c.sessions, "session"), rate(r.sessions) + " new/s",
    bytes(r.up) + " up/s", bytes(r.down) + " down/s", c.dial_failures && say(c.dial_failures, "dial error") + (r.failures ? " (" + rate(r.failures) + "/s)" : ""), c.retries && (c.retries === 1 ? "1 retry" : c.retries + " retries"), c.queue && c.queue + " in the queue", c.held_sessions && c.held_sessions + " held", c.held && "failback is manual",
    c.closing && "closing " + c.closing.left + " of " + c.closing.total + ", " + c.closing.quiet + " quiet closes, " + c.closing.forced + " forced",
    topologyText(c.topology), c.origin === "api" && "defined at run time", c.removed && "removed at run time: " + c.removed.join(", ")].filter(Boolean).join(" · "));
  e.back.hidden = !c.held;
  const large = servers > largeAbove() && !filterText();
  e.all.hidden = !large;
  text(e.all, expanded.has(c.name) ? "show those not up" : "show all " + servers);
  keyed(e.bodies, rowsOf(c, large && !expanded.has(c.name), wanted), (row) => row.key, (row) => makeRow(c, row), (tr, row) => showRow(tr, row, rates));
}

// topologyText returns the primary of a topology, its epoch and what is wrong with it.
function topologyText(t) {
  if (!t) return "";
  return [t.primary ? "primary " + t.primary : "no primary", t.epoch && "epoch " + t.epoch, t.stale_since && "stale since " + moment(t.stale_since),
    t.problem, t.sessions_on_non_primary && say(t.sessions_on_non_primary, "session") + " on servers that lost the role"].filter(Boolean).join(", ");
}

const healthy = (s) => s.state === "up" || s.state === "standby";

// rowsOf returns the rows of a cluster's table: level headings, servers, and the number of hidden servers.
function rowsOf(c, badOnly, wanted) {
  const rows = [];
  c.levels.forEach((l, i) => {
    const shown = l.servers.filter((s) => wanted ? matches(s, wanted) : !badOnly || !healthy(s));
    if (wanted && shown.length === 0) return;
    rows.push({ key: "level " + i, level: l });
    for (const s of shown.slice(0, mostRows)) rows.push({ key: i + "/" + s.name, server: s, cluster: c.name });
    const listed = Math.min(shown.length, mostRows);
    const rest = countLevel(l) - listed;
    if (rest === 0) return;
    const left = badOnly ? l.servers.filter(healthy) : [];
    const omitted = l.omitted || { servers: 0, sessions: 0 };
    const sessions = left.reduce((n, s) => n + s.sessions, omitted.sessions);
    const up = left.length + omitted.servers;
    const parts = [up && say(up, "server") + " up with " + say(sessions, "session"), rest > up && rest - up + " more: use the filter"];
    rows.push({ key: "rest " + i, rest: parts.filter(Boolean).join(", ") });
  });
  return rows;
}

function matches(s, wanted) {
  return [s.name, s.address, s.state, s.reason].some((t) => t.toLowerCase().includes(wanted));
}

function makeRow(c, row) {
  if (row.level) return el("tr", { class: "level" }, el("th", { colspan: "9", scope: "rowgroup" }));
  if (row.rest !== undefined) return el("tr", { class: "rest" }, el("td", { colspan: "9", class: "quiet" }));
  const name = el("button", { type: "button", class: "link", onclick: () => openServer(c.name, row.server.name) }, row.server.name);
  return el("tr", { class: "server" },
    el("td", {}, name, el("small")), el("td", {}, el("span")), el("td", { class: "n" }), el("td", { class: "n rate" }),
    el("td", { class: "n bytes" }), el("td", { class: "n bytes" }), el("td", { class: "n errors" }), el("td", { class: "n weight" }), el("td", { class: "why" }));
}

function showRow(tr, row, rates) {
  if (row.level) {
    const l = row.level;
    text(tr.firstChild, "level " + l.name + (l.in_use ? " – in use" : "") + ", " + l.eligible + " of " + countLevel(l) + " may serve" + (l.min_up > 1 ? ", wants " + l.min_up : ""));
    className(tr.firstChild, l.in_use ? "inuse" : "");
    return;
  }
  if (row.rest !== undefined) {
    text(tr.firstChild, row.rest);
    return;
  }
  const s = row.server, r = rates.server(row.cluster, s.name);
  const [name, state, sessions, fresh, up, down, errors, weight, why] = tr.children;
  text(name.lastChild, [s.address === s.name ? "" : s.address, s.role || "", { api: "added at run time", topology: "found by the topology", discovery: "found by the provider" }[s.origin] || ""].filter(Boolean).join(" · "));
  text(state.firstChild, s.state);
  className(state.firstChild, "state " + s.state);
  text(sessions, s.sessions + (s.sessions_peak > s.sessions ? " / " + s.sessions_peak : ""));
  sessions.title = "peak " + s.sessions_peak + " since the start" + (s.max_sessions ? ", at most " + s.max_sessions : "");
  text(errors, s.dial_failures ? size(s.dial_failures) : "");
  errors.title = s.dial_failures ? say(s.dial_failures, "failed dial") + " of " + s.dials + ", " + s.retries + " retries" : "";
  className(errors, r.failures ? "n errors growing" : "n errors");
  text(fresh, rate(r.sessions));
  text(up, bytes(r.up));
  text(down, bytes(r.down));
  const set = s.layers.some((l) => l.layer === "override" && l.weight !== undefined);
  text(weight, s.weight + (set ? "*" : ""));
  weight.title = set ? "set by an operator" : "";
  text(why, s.reason + (s.state === "up" ? "" : (s.reason ? " · " : "") + "since " + moment(s.since)));
}
