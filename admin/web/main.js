// The page: polls the status once a second, draws it, and follows the event stream.

const eventsShown = 100;
const page = { doc: null, rates: null, events: [], lost: null };

function redraw() {
  if (!page.doc) return;
  const { doc, rates } = page;
  showProcess(doc, rates);
  showProblems(doc);
  showClusters(doc, rates);
  keyed($("listeners").tBodies[0], doc.listeners, (l) => l.protocol + " " + l.address, makeListener, (tr, l) => showListener(tr, l, rates.listener(l)));
  showAddresses(doc.vips || []);
  text($("config"), doc.config.file + ", loaded " + moment(doc.config.loaded_at) + ", " + say(doc.config.reloads, "reload") +
    (doc.config.reloads_failed ? ", " + doc.config.reloads_failed + " failed" : ""));
}

function showProcess(doc, rates) {
  const all = rates.all(doc);
  text($("process"), "at " + location.host + ", " + doc.version.split(" ")[0] + ", pid " + doc.pid + ", up " + duration(doc.uptime_seconds));
  text($("sessions"), doc.sessions);
  $("sessions").title = "limit " + doc.max_sessions;
  text($("rate"), rate(all.sessions));
  text($("up"), bytes(all.up));
  text($("down"), bytes(all.down));
  const count = doc.problems.filter((p) => p.severity !== "note").length;
  document.title = (page.lost ? "? " : count ? "(" + count + ") " : "") + "weir " + location.host;
}

// showProblems shows the problems at the top of the page. A lost connection to weir comes first.
function showProblems(doc) {
  const list = doc ? [...doc.problems] : [];
  if (page.notice) list.unshift({ severity: "warning", text: page.notice });
  if (page.lost) {
    list.unshift({ severity: "critical", text: "no response from weir", reason: page.lost.why + (doc ? ". The page shows the last page." : ""), since: page.lost.since });
  }
  if (list.length === 0) list.push({ severity: "ok", text: "No problems" });
  keyed($("problems"), list.map((t, i) => ({ ...t, i })), (t) => t.i, makeProblem, showProblem);
  className(document.body, page.lost ? "lost" : "");
}

function makeProblem() {
  const what = el("button", { type: "button", class: "link what" });
  const e = el("div", {}, what, el("span", { class: "why" }), el("time"));
  what.addEventListener("click", () => {
    const t = e.problem;
    if (t.servers && t.servers.length) openServer(t.cluster, t.servers[0]);
    else if (t.cluster) $("cluster-" + t.cluster).scrollIntoView({ block: "start" });
  });
  return e;
}

function showProblem(e, t) {
  e.problem = t;
  className(e, "problem " + t.severity);
  text(e.children[0], (t.cluster ? t.cluster + ": " : "") + t.text);
  e.children[0].disabled = !t.cluster;
  text(e.children[1], t.reason || "");
  text(e.children[2], t.since ? "since " + moment(t.since) : "");
}

function showNotice(message) {
  page.notice = message;
  showProblems(page.doc);
  setTimeout(() => { if (page.notice === message) { page.notice = null; showProblems(page.doc); } }, 8000);
}

function makeListener(l) {
  return el("tr", {}, el("td", {}, l.name, el("small")), ...[0, 0, 0, 0].map(() => el("td", { class: "n" })));
}

// levelOf returns the level in use for the clients of a listener, where it is not that of the cluster.
function levelOf(l) {
  const c = page.doc.clusters.find((c) => c.name === l.cluster);
  return l.level && c && l.level !== c.level ? ", level " + l.level : "";
}

function showListener(tr, l, r) {
  text(tr.children[0].lastChild, (l.protocol === "tcp" ? "" : l.protocol + " ") + l.address + " → " + l.cluster + levelOf(l));
  text(tr.children[1], l.sessions);
  text(tr.children[2], rate(r.sessions));
  text(tr.children[3], bytes(r.up));
  text(tr.children[4], bytes(r.down));
}

function showEvents() {
  const list = page.events.slice(-eventsShown).reverse();
  if (list.length) keyed($("events"), list, (ev) => ev.id, makeEvent, () => {});
}

function makeEvent(ev) {
  const where = (ev.cluster || "") + (ev.server ? "/" + ev.server : "");
  const change = ev.from || ev.to ? (ev.from || "–") + " → " + (ev.to || "–") : "";
  return el("li", {}, el("time", { class: "quiet" }, moment(ev.time)), " ", el("b", {}, ev.event), " ", where, " ", el("span", { class: "change" }, change),
    ev.reason ? el("span", { class: "why" }, (ev.layer ? ev.layer + ": " : "") + ev.reason) : null);
}

// refresh polls the status and draws it. A call during a poll causes one more poll after it.
let polling = null, again = false;

function refresh() {
  if (polling) {
    again = true;
    return polling;
  }
  polling = poll().finally(() => {
    polling = null;
    if (again) {
      again = false;
      refresh();
    }
  });
  return polling;
}

async function poll() {
  try {
    const doc = await call("GET", statusPath(), undefined, 5);
    page.rates = new Rates(doc, page.rates);
    page.doc = doc;
    page.lost = null;
  } catch (err) {
    page.lost = page.lost || { since: new Date().toISOString(), why: err.message };
    showProblems(page.doc);
  }
  $("forget").hidden = !sessionStorage.getItem(tokenKey);
  redraw();
  await Promise.all([refreshServer(), refreshCharts(), refreshFleet()]);
  showAccess();
}

// showAccess disables the buttons that make changes if weir would refuse them, and says why.
let disabled = false;

function showAccess() {
  $("read-only").hidden = !readOnly;
  if (!readOnly && !disabled) return;
  disabled = readOnly;
  for (const button of document.querySelectorAll("#plan, #reload-now, .actions button, #server-sessions button")) {
    button.disabled = readOnly;
    button.title = readOnly ? $("read-only").textContent : button.dataset.title || "";
  }
}

// watch refreshes once a second, less often if a refresh takes long, and not while the page is hidden.
async function watch() {
  for (;;) {
    const began = performance.now();
    try {
      if (!document.hidden) await refresh();
    } catch (err) {
      showNotice("error in this page: " + err.message);
    }
    const took = performance.now() - began;
    await new Promise((next) => setTimeout(next, Math.max(1000, 5 * took)));
  }
}

async function showPlan() {
  const list = (items) => keyed($("steps"), items, (s) => s.i, (s) => el("li", {}, s.text), () => {});
  text($("reload-error"), "");
  list([]);
  $("reload-now").disabled = true;
  if (!$("reload").open) $("reload").showModal();
  try {
    const p = await call("POST", "/v1/plan");
    const steps = p.steps.map((s) => s.text + (s.cuts ? " (" + say(s.cuts, "session") + " to drain)" : "") + (s.refused ? "\nimpossible: " + s.refused : ""));
    list((steps.length ? steps : ["no changes"]).map((s, i) => ({ i: s + i, text: s })));
    $("reload-now").disabled = p.refused;
  } catch (err) {
    text($("reload-error"), err.message);
  }
}

$("plan").addEventListener("click", showPlan);
$("reload-now").addEventListener("click", () => act($("reload-now"), async () => {
  await call("POST", "/v1/reload");
  $("reload").close();
}, $("reload-error")));
$("filter").addEventListener("input", () => { redraw(); refresh(); });
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(tokenKey);
  location.reload();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

let soon = null; // timer: one redraw for events that arrive together
watch();
follow(() => { page.events = []; }, (ev) => {
  page.events = [...page.events.slice(1 - eventsShown), ev];
  soon = soon || setTimeout(() => {
    soon = null;
    showEvents();
    refresh();
  }, 100);
});
