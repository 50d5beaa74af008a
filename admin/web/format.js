// Formats numbers and times.

// size formats a number of bytes like weir status.
function size(n) {
  if (n < 10000) return String(Math.round(n));
  for (const unit of "kMGTPE") {
    n /= 1000;
    if (n < 999.5) return n.toPrecision(3).replace(/e\+.*/, "") + unit;
  }
  return String(n);
}

// rate formats a number per second; empty before the second sample.
function rate(n) {
  if (n === undefined || Number.isNaN(n)) return "–";
  if (n === 0) return "0";
  return n < 10 ? n.toFixed(1) : size(n);
}

function bytes(n) { return n === undefined ? "–" : size(n); }

function duration(s) {
  if (s < 60) return Math.round(s) + "s";
  if (s < 3600) return Math.floor(s / 60) + "m" + Math.floor(s % 60) + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h" + Math.floor((s % 3600) / 60) + "m";
  return Math.floor(s / 86400) + "d" + Math.floor((s % 86400) / 3600) + "h";
}

// moment formats a time, with the date unless it is today.
function moment(iso) {
  const t = new Date(iso);
  const clock = t.toLocaleTimeString([], { hour12: false });
  return t.toDateString() === new Date().toDateString() ? clock : t.toLocaleDateString() + " " + clock;
}

function say(n, what) { return n + " " + what + (n === 1 ? "" : "s"); }
