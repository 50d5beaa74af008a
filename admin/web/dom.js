// DOM helpers. Data from weir is inserted as text, never as markup.

const $ = (id) => document.getElementById(id);

// el creates an element with properties and children. Strings become text nodes.
function el(name, props, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(props || {})) {
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else if (key === "class") e.className = value;
    else e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// text sets the text of an element, unless it is unchanged.
function text(e, value) {
  value = String(value);
  if (e.textContent !== value) e.textContent = value;
}

function className(e, value) {
  if (e.className !== value) e.className = value;
}

// keyed updates the children of parent to match items, in order. Elements whose key remains are kept, with focus, selection and
// scroll position. make(item) creates an element, update(element, item) fills it.
function keyed(parent, items, key, make, update) {
  const old = parent.byKey || new Map();
  const now = new Map();
  for (const item of items) {
    const k = key(item);
    now.set(k, old.get(k) || make(item));
    old.delete(k);
  }
  for (const e of old.values()) e.remove();
  if (!parent.byKey) parent.replaceChildren();
  parent.byKey = now;
  let at = parent.firstChild;
  for (const item of items) {
    const e = now.get(key(item));
    update(e, item);
    if (e === at) at = at.nextSibling;
    else parent.insertBefore(e, at);
  }
}
