// The addresses of this node, and its fleet. The page asks only its own node, which knows the records that the others keep in the store:
// the policy of the page allows no other host, and a token belongs to one node. Links lead to the pages of the others.

const fleetPause = 3000; // milliseconds between two requests
const fleet = { due: 0, loading: false };

function showAddresses(list) {
  $("vips-section").hidden = list.length === 0;
  keyed($("vips").tBodies[0], list, (v) => v.address + " " + v.interface, makeAddress, (tr, v) => {
    const [name, state, why] = tr.children;
    text(name.lastChild, v.interface + (v.clusters.length ? " for " + v.clusters.join(", ") : ""));
    text(state.firstChild, v.state);
    className(state.firstChild, "state " + (v.state === "failed" ? "failing" : v.state === "hold" ? "probation" : v.state));
    text(why, [v.problem || v.reason, "since " + moment(v.since)].filter(Boolean).join(" · "));
  });
}

function makeAddress(v) { return el("tr", {}, el("td", {}, v.address, el("small")), el("td", {}, el("span")), el("td", { class: "quiet" })); }

// refreshFleet asks for the fleet, if there is one.
async function refreshFleet() {
  const linked = Boolean(page.doc && page.doc.fleet);
  $("fleet-section").hidden = !linked;
  if (!linked || fleet.loading || performance.now() < fleet.due) return;
  fleet.loading = true;
  try {
    showFleet(await call("GET", "/v1/fleet"));
    text($("fleet-error"), "");
  } catch (err) {
    text($("fleet-error"), err.message);
  } finally {
    fleet.loading = false;
    fleet.due = performance.now() + fleetPause;
  }
}

function showFleet(f) {
  text($("fleet-head"), "Fleet " + f.prefix);
  text($("fleet-facts"), [f.connected ? "connected since " + moment(f.since) : "not connected since " + moment(f.since), say(f.members.length, "node"),
    f.members.reduce((n, m) => n + m.sessions, 0) + " sessions in all", f.overrides.length && say(f.overrides.length, "override"), f.pending && f.pending + " pending"].filter(Boolean).join(" · "));
  keyed($("fleet-nodes").tBodies[0], f.members, (m) => m.name + " " + nodeLink(m), makeNode, showNode);
  keyed($("fleet-disagreements"), f.disagreements, (d) => d.cluster + "/" + d.server, () => el("li"), (li, d) => {
    text(li, d.cluster + "/" + d.server + ": " + Object.entries(d.states).map(([node, is]) => is + " on " + node).join(", "));
  });
}

// nodeLink returns the address of the page of another node, or "". Loopback addresses of others lead nowhere.
function nodeLink(m) {
  const at = (m.api || []).find((a) => /^[0-9a-fA-F.:[\]]+$/.test(a) && !/^(127\.|\[::1\]|0\.0\.0\.0:|\[::\])/.test(a));
  return m.self || !at ? "" : location.protocol + "//" + at + "/";
}

function makeNode(m) {
  const link = nodeLink(m);
  const name = link ? el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, m.name) : el("span", {}, m.name);
  return el("tr", {}, el("td", {}, name, el("small")), el("td", { class: "n" }), el("td"));
}

function showNode(tr, m) {
  const [name, sessions, problems] = tr.children;
  text(name.lastChild, [m.self && "this node", m.state === "drain" && "drained", m.version.split(" ")[0], "up " + duration(m.uptime_seconds)].filter(Boolean).join(" · "));
  text(sessions, m.sessions);
  text(problems, m.problem_count ? say(m.problem_count, "problem") + ": " + m.problems.join("; ") : "no problems");
  className(problems, m.problem_count ? "" : "quiet");
}
