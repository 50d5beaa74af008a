// The dialog of a server: layers, actions, sessions.

const shown = { cluster: "", server: "", explanation: null };
const listed = 20; // sessions in the dialog

function openServer(cluster, server) {
  Object.assign(shown, { cluster, server, explanation: null });
  text($("server-name"), cluster + "/" + server);
  for (const id of ["server-head", "server-error", "server-counts"]) text($(id), "");
  keyed($("layers").tBodies[0], [], null, null, null);
  keyed($("server-sessions").tBodies[0], [], null, null, null);
  $("reason").value = $("weight").value = "";
  disarm();
  if (!$("server").open) $("server").showModal();
  if (serverCharts) serverCharts.close();
  serverCharts = new Charts($("server-charts"), cluster, server);
  refreshCharts();
  refreshServer();
}

$("server").addEventListener("close", () => {
  if (serverCharts) serverCharts.close();
  serverCharts = null;
  $("server-charts").replaceChildren();
});

// refreshServer polls the server shown in the dialog.
async function refreshServer() {
  if (!$("server").open) return;
  const { cluster, server } = shown;
  const current = () => $("server").open && shown.cluster === cluster && shown.server === server;
  try {
    const query = new URLSearchParams({ cluster, server, limit: listed });
    const [x, sessions] = await Promise.all([call("GET", serverPath(cluster, server) + "/explain"), call("GET", "/v1/sessions?" + query)]);
    if (current()) showServer(x, sessions);
  } catch (err) {
    if (current()) text($("server-error"), err.message);
  }
}

function showServer(x, sessions) {
  shown.explanation = x;
  const head = $("server-head");
  if (!head.firstElementChild) head.replaceChildren(el("span"), el("span"));
  text(head.firstChild, x.state);
  className(head.firstChild, "state " + x.state);
  text(head.lastChild, " since " + moment(x.since) + " at " + x.address + ", level " + x.levels.join(", ") +
    ", weight " + x.weight + (x.effective_weight === x.weight ? "" : " (" + x.effective_weight.toPrecision(3) + " effective)") +
    (x.max_sessions ? ", at most " + say(x.max_sessions, "session") : ""));
  if ($("weight").value === "" && document.activeElement !== $("weight")) $("weight").value = x.weight;
  $("kill").disabled = readOnly || x.sessions === 0;
  if (armed.button !== $("kill")) text($("kill"), x.sessions === 0 ? "No sessions" : "Kill " + say(x.sessions, "session"));
  keyed($("layers").tBodies[0], x.layers.map((l, i) => ({ ...l, i })), (l) => l.i,
    () => el("tr", {}, el("td"), el("td"), el("td"), el("td")), showLayer);
  text($("server-counts"), [say(x.sessions_total, "session") + " since startup", "at most " + x.sessions_peak + " at a time", say(x.dials, "dial"), x.dial_failures + " failed",
    x.retries + " retries", x.connect_ms ? "connects in " + x.connect_ms.toFixed(1) + " ms" : "",
    size(x.bytes_up) + " up, " + size(x.bytes_down) + " down"].filter(Boolean).join(" · "));
  text($("server-sessions-head"), sessions.length === 0 ? "No sessions" : "Sessions" + (sessions.length < x.sessions ? " (" + sessions.length + " of " + x.sessions + ")" : ""));
  $("server-sessions").hidden = sessions.length === 0;
  sessions.sort((a, b) => a.id - b.id);
  keyed($("server-sessions").tBodies[0], sessions, (s) => s.id, makeSession, showSession);
}

function showLayer(tr, l) {
  const says = [l.says, l.weight !== undefined && "weight " + l.weight, l.percent !== undefined && l.percent + "%",
    l.max_sessions > 0 && "at most " + l.max_sessions].filter(Boolean).join(", ");
  const [layer, said, since, why] = tr.children;
  text(layer, (l.decides ? "▸ " : "") + l.layer + (l.by && l.by !== l.layer ? " (" + l.by + ")" : ""));
  text(said, says || "–");
  text(since, (l.at ? moment(l.at) : "") + (l.until ? " until " + moment(l.until) : ""));
  text(why, l.reason || "");
  className(tr, l.decides ? "decides" : "");
}

function makeSession(s) {
  const cut = el("button", { type: "button", class: "danger", "aria-label": "cut the session of " + s.client }, "cut");
  cut.disabled = readOnly;
  cut.addEventListener("click", () => serverAct(cut, () => call("DELETE", "/v1/sessions/" + s.id)));
  return el("tr", {}, el("td", {}, s.client), el("td"), el("td", { class: "n" }), el("td", { class: "n" }), el("td", { class: "n" }), el("td", {}, cut));
}

function showSession(tr, s) {
  text(tr.children[1], s.phase);
  text(tr.children[2], size(s.bytes_up));
  text(tr.children[3], size(s.bytes_down));
  text(tr.children[4], duration(s.age_seconds));
}

// act runs a change with its button disabled, and shows its error.
async function act(button, change, error) {
  button.disabled = true;
  try {
    await change();
    if (error) text(error, "");
  } catch (err) {
    if (error) text(error, err.message);
    else showNotice(err.message);
  } finally {
    button.disabled = readOnly;
    if (document.activeElement === document.body) button.focus(); // disabling it removed the focus
    refresh();
  }
}

function serverAct(button, change) { return act(button, change, $("server-error")); }

function patch(button, change) {
  const why = $("reason").value.trim();
  return serverAct(button, async () => {
    await call("PATCH", serverPath(shown.cluster, shown.server), why ? { ...change, reason: why } : change);
    $("reason").value = ""; // the next change has its own
  });
}

// A change that ends sessions requires a second click within four seconds.
const armed = { button: null, label: "", timer: 0 };

function disarm() {
  clearTimeout(armed.timer);
  if (armed.button) text(armed.button, armed.label);
  armed.button = null;
}

// confirmed reports whether this is the second click. The first one shows the question on the button.
function confirmed(button, question) {
  const second = armed.button === button;
  disarm();
  if (second) return true;
  Object.assign(armed, { button, label: button.textContent, timer: setTimeout(() => { disarm(); refreshServer(); }, 4000) });
  text(button, question);
  return false;
}

// cutBy returns how many sessions a change of the state ends: a server in maint loses its sessions with on_down = "close".
function cutBy(state) {
  const x = shown.explanation;
  const cluster = page.doc && page.doc.clusters.find((c) => c.name === shown.cluster);
  if (!x || !cluster || cluster.on_down !== "close" || x.state === "maint") return 0;
  const inFile = x.layers.some((l) => l.layer === "configuration" && l.says === "maint");
  return state === "maint" || state === "" && inFile ? x.sessions : 0;
}

function kill() {
  if (confirmed($("kill"), "Really? Click again")) serverAct($("kill"), () => call("DELETE", serverPath(shown.cluster, shown.server) + "/sessions"));
}

for (const button of document.querySelectorAll("[data-state]")) {
  button.addEventListener("click", () => {
    const state = button.dataset.state;
    const cut = cutBy(state);
    if (cut > 0 && !confirmed(button, "Cuts " + say(cut, "session") + ". Click again")) return;
    disarm();
    $("weight").value = "";
    patch(button, state ? { state } : { state: null, weight: null, max_sessions: null });
  });
}
$("set-weight").addEventListener("click", () => {
  const n = $("weight").valueAsNumber;
  if (!Number.isInteger(n) || n < 0 || n > 256) text($("server-error"), "weight: want an integer from 0 to 256");
  else patch($("set-weight"), { weight: n });
});
$("kill").addEventListener("click", kill);
