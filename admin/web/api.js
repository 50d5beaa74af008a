// Requests to weir, with the token if one is required.

const tokenKey = "weir-token";
let readOnly = false; // weir refuses changes from this page
let asking = null; // promise of a token while the login dialog is open

class ApiError extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

// open sends a request and returns a successful response, or throws an ApiError.
async function open(method, path, body, signal) {
  for (;;) {
    const headers = {};
    const token = sessionStorage.getItem(tokenKey);
    if (token) headers.Authorization = "Bearer " + token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const res = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
    if (res.ok) {
      readOnly = res.headers.get("Weir-Access") === "read";
      return res;
    }
    if (res.status === 401) {
      await wantToken(token);
      continue;
    }
    let message = res.status + " " + res.statusText;
    try {
      const p = await res.json();
      message = p.field ? p.field + ": " + p.error : p.error;
    } catch { /* not a response of weir */ }
    throw new ApiError(res.status, message);
  }
}

// call sends a request and returns the JSON response. timeout is in seconds.
async function call(method, path, body, timeout = 30) {
  const limit = AbortSignal.timeout(timeout * 1000);
  try {
    const res = await open(method, path, body, limit);
    return res.status === 204 ? null : await res.json();
  } catch (err) {
    if (limit.aborted) throw new Error("no response within " + timeout + " seconds");
    throw err;
  }
}

// wantToken asks for a token after one was rejected. Concurrent requests share one dialog.
function wantToken(refused) {
  if (refused !== sessionStorage.getItem(tokenKey)) return Promise.resolve(); // replaced meanwhile
  if (asking) return asking;
  text($("login-error"), refused ? "This is not the token." : "");
  $("token").value = "";
  if (!$("login").open) $("login").showModal();
  asking = new Promise((done) => {
    $("login-form").onsubmit = (ev) => {
      ev.preventDefault();
      const token = $("token").value.trim();
      if (/[^\x21-\x7e]/.test(token)) {
        text($("login-error"), "A token has only printable ASCII characters.");
        return;
      }
      sessionStorage.setItem(tokenKey, token);
      asking = null;
      $("login").close();
      done();
    };
  });
  return asking;
}

// The dialog stays open until a token is entered.
$("login").addEventListener("close", () => { if (asking) $("login").showModal(); });

function serverPath(cluster, server) {
  return "/v1/clusters/" + encodeURIComponent(cluster) + "/servers/" + encodeURIComponent(server);
}

// follow reads the event stream forever: first the event log, then new events. It reconnects after an error.
async function follow(begin, each) {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 30000)) {
    try {
      const res = await open("GET", "/v1/events");
      begin();
      const chunks = res.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value, done } = await chunks.read();
        if (done) break;
        pause = 1000;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("data: ")) each(JSON.parse(line.slice(6)));
        }
      }
    } catch { /* reconnect after the pause */ }
    await new Promise((again) => setTimeout(again, pause));
  }
}
