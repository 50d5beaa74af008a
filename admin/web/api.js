// What is asked of weir, with the token if one is asked for.

const tokenKey = "weir-token";
let asking = null; // the promise of a token, while one is asked for

class ApiError extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

// open sends a request and returns the response of one that was done.
async function open(method, path, body, signal) {
  for (;;) {
    const headers = {};
    const token = sessionStorage.getItem(tokenKey);
    if (token) headers.Authorization = "Bearer " + token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const res = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
    if (res.ok) return res;
    if (res.status === 401) {
      await wantToken(token);
      continue;
    }
    let message = res.status + " " + res.statusText;
    try {
      const p = await res.json();
      message = p.field ? p.field + ": " + p.error : p.error;
    } catch { /* not of weir's making */ }
    throw new ApiError(res.status, message);
  }
}

// call sends a request and returns the answer; patience is in seconds.
async function call(method, path, body, patience = 30) {
  const limit = AbortSignal.timeout(patience * 1000);
  try {
    const res = await open(method, path, body, limit);
    return res.status === 204 ? null : await res.json();
  } catch (err) {
    if (limit.aborted) throw new Error("no answer within " + patience + " seconds");
    throw err;
  }
}

// wantToken asks for a token in the place of one that was refused, once for all who want it.
function wantToken(refused) {
  if (refused !== sessionStorage.getItem(tokenKey)) return Promise.resolve(); // another one has been given meanwhile
  if (asking) return asking;
  text($("login-error"), refused ? "That is not the token." : "");
  $("token").value = "";
  if (!$("login").open) $("login").showModal();
  asking = new Promise((done) => {
    $("login-form").onsubmit = (ev) => {
      ev.preventDefault();
      const token = $("token").value.trim();
      if (/[^\x21-\x7e]/.test(token)) {
        text($("login-error"), "A token has no blanks and no letters beyond ASCII.");
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

// The question stays until it is answered.
$("login").addEventListener("close", () => { if (asking) $("login").showModal(); });

function serverPath(cluster, server) {
  return "/v1/clusters/" + encodeURIComponent(cluster) + "/servers/" + encodeURIComponent(server);
}

// follow reads the events as they come, for ever: those that weir remembers first. After a break it begins anew.
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
    } catch { /* asked again after a pause */ }
    await new Promise((again) => setTimeout(again, pause));
  }
}
