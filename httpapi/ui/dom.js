// The few lines of DOM help that the page needs. Text is always set as text,
// never as markup: names come from the cluster.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes, ...children) {
  const svg = SVG.has(tag);
  const el = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}
const SVG = new Set(["svg", "path", "line", "text", "g", "rect", "title"]);

// setText writes only what differs, so that selections and screen readers are
// left in peace.
export function setText(el, text) {
  text = String(text);
  if (el.textContent !== text) el.textContent = text;
}

export function setClass(el, name, on) {
  el.classList.toggle(name, Boolean(on));
}

// keyed makes the children of a container match the items, in order, and keeps
// the element (its focus, its open details) of every item that stays.
export function keyed(container, items, keyOf, create, update) {
  const old = container.keyed || new Map();
  const now = new Map();
  let place = container.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let el = old.get(key);
    if (!el) el = create(item);
    old.delete(key);
    now.set(key, el);
    if (update) update(el, item);
    if (el === place) place = place.nextElementSibling;
    else container.insertBefore(el, place);
  }
  while (place) {
    const next = place.nextElementSibling;
    place.remove();
    place = next;
  }
  container.keyed = now;
}
