// Clusters with their levels and servers. Servers of large clusters that are up are counted, and shown on request.

const fewServers = 20; // a cluster with more is large
const mostRows = 2000; // maximum per cluster
const expanded = new Set(); // names of large clusters with all servers shown

function showClusters(doc, rates) {
  const wanted = $("filter").value.trim().toLowerCase();
  keyed($("clusters"), doc.clusters, (c) => c.name, makeCluster, (e, c) => showCluster(e, c, rates, wanted));
}

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
  e.head.append(e.name, e.bad, e.facts, e.back, e.all);
  e.table = el("table", { class: "servers" },
    el("colgroup", {}, ...["c-name", "c-state", "c-n", "c-n", "c-n", "c-n", "c-n", ""].map((c) => el("col", { class: c }))),
    el("thead", {}, el("tr", {}, el("th", {}, "Server"), el("th", {}, "State"), ...["Sessions", "New/s", "Up/s", "Down/s", "Weight"].map((h) => el("th", { class: "n" }, h)), el("th", { class: "why" }, "Reason"))));
  e.append(e.head, e.table);
  e.bodies = el("tbody");
  e.table.append(e.bodies);
  return e;
}

function showCluster(e, c, rates, wanted) {
  const r = rates.cluster(c);
  const servers = c.levels.reduce((n, l) => n + l.servers.length, 0);
  text(e.bad, !c.level ? "no level in use" : c.empty ? "no healthy server" : "");
  className(e, e.bad.textContent ? "cluster broken" : "cluster");
  text(e.facts, [c.balance, c.level && "level " + c.level + " in use", say(c.sessions, "session"), rate(r.sessions) + " new/s",
    bytes(r.up) + " up/s", bytes(r.down) + " down/s", c.queue && c.queue + " in the queue", c.held_sessions && c.held_sessions + " held", c.held && "failback is manual",
    c.closing && "closing " + c.closing.left + " of " + c.closing.total + ", " + c.closing.quiet + " quiet closes, " + c.closing.forced + " forced",
    topologyText(c.topology), c.origin === "api" && "defined at run time", c.removed && "removed at run time: " + c.removed.join(", ")].filter(Boolean).join(" · "));
  e.back.hidden = !c.held;
  const large = servers > fewServers && !wanted;
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
    const rest = l.servers.length - Math.min(shown.length, mostRows);
    if (rest === 0) return;
    const left = badOnly ? l.servers.filter(healthy) : [];
    const sessions = left.reduce((n, s) => n + s.sessions, 0);
    rows.push({ key: "rest " + i, rest: badOnly ? say(left.length, "server") + " up with " + say(sessions, "session") : rest + " more" });
  });
  return rows;
}

function matches(s, wanted) {
  return [s.name, s.address, s.state, s.reason].some((t) => t.toLowerCase().includes(wanted));
}

function makeRow(c, row) {
  if (row.level) return el("tr", { class: "level" }, el("th", { colspan: "8", scope: "rowgroup" }));
  if (row.rest !== undefined) return el("tr", { class: "rest" }, el("td", { colspan: "8", class: "quiet" }));
  const name = el("button", { type: "button", class: "link", onclick: () => openServer(c.name, row.server.name) }, row.server.name);
  return el("tr", { class: "server" },
    el("td", {}, name, el("small")), el("td", {}, el("span")), el("td", { class: "n" }), el("td", { class: "n rate" }),
    el("td", { class: "n bytes" }), el("td", { class: "n bytes" }), el("td", { class: "n weight" }), el("td", { class: "why" }));
}

function showRow(tr, row, rates) {
  if (row.level) {
    const l = row.level;
    text(tr.firstChild, "level " + l.name + (l.in_use ? " – in use" : "") + ", " + l.eligible + " of " + l.servers.length + " may serve" + (l.min_up > 1 ? ", wants " + l.min_up : ""));
    className(tr.firstChild, l.in_use ? "inuse" : "");
    return;
  }
  if (row.rest !== undefined) {
    text(tr.firstChild, row.rest);
    return;
  }
  const s = row.server, r = rates.server(row.cluster, s.name);
  const [name, state, sessions, fresh, up, down, weight, why] = tr.children;
  text(name.lastChild, [s.address === s.name ? "" : s.address, s.role || "", { api: "added at run time", topology: "found by the topology", discovery: "found by the provider" }[s.origin] || ""].filter(Boolean).join(" · "));
  text(state.firstChild, s.state);
  className(state.firstChild, "state " + s.state);
  text(sessions, s.sessions);
  text(fresh, rate(r.sessions));
  text(up, bytes(r.up));
  text(down, bytes(r.down));
  const set = s.layers.some((l) => l.layer === "override" && l.weight !== undefined);
  text(weight, s.weight + (set ? "*" : ""));
  weight.title = set ? "set by an operator" : "";
  text(why, s.reason + (s.state === "up" ? "" : (s.reason ? " · " : "") + "since " + moment(s.since)));
}
