// Elements. Whatever comes from weir goes into the page as text, never as markup.

const $ = (id) => document.getElementById(id);

// el makes an element with properties and children; strings become text.
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

// text sets an element's text if it is another one: what stays is not drawn anew.
function text(e, value) {
  value = String(value);
  if (e.textContent !== value) e.textContent = value;
}

function className(e, value) {
  if (e.className !== value) e.className = value;
}

// keyed makes parent's children those of items, in order. Elements of keys that stay are kept: focus, selection and
// place stay with them. make(item) returns a new element, update(element, item) fills it.
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
