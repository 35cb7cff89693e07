// Makes elements. Text only ever becomes text: nothing here, or anywhere in the console, takes a string for markup.

const SVG = "http://www.w3.org/2000/svg";
const LINK = /^(?:#|https?:\/\/)/;

/** An element with attributes and children. `on` holds listeners; an attribute that is null, undefined or false is left out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element, as {@link h}. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "href" && !LINK.test(value)) {
      throw new Error("a link leads to a view, or to a web page");
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what an element holds by `children`, and keep what is the same: whoever has the focus, or reads, is not disturbed. */
export function update(element, ...children) {
  const wanted = h(element.localName, {}, ...children);
  matchChildren(element, wanted);
}

function matchChildren(element, wanted) {
  const present = [...element.childNodes];
  const after = [...wanted.childNodes];
  after.forEach((node, place) => {
    const old = present[place];
    if (old === undefined) element.append(node);
    else if (!matched(old, node)) old.replaceWith(node);
  });
  for (const old of present.slice(after.length)) old.remove();
}

function matched(old, node) {
  if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== node.data) old.data = node.data;
    return true;
  }
  // Another row must not take over the place, and with it the focus, of the one that stood there.
  if (old.dataset?.key !== node.dataset?.key) return false;
  for (const { name } of [...old.attributes]) if (!node.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  matchChildren(old, node);
  return true;
}

/** A table; `kind` says how a phone lays it out. `columns` are `[heading, class]`; a row is an array of cells, or `{key, cells}`. */
export function table(caption, columns, rows, { empty = "None.", kind = null } = {}) {
  if (rows.length === 0) return h("p", { class: "muted" }, empty);
  return h(
    "table",
    // On a phone rows are laid out as blocks; the roles keep them rows for whoever listens.
    { class: kind, role: "table" },
    h("caption", { class: "hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(([heading, width]) => h("th", { scope: "col", role: "columnheader", class: width }, heading)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => tableRow(columns, row))),
  );
}

/** One row of {@link table}. */
export function tableRow(columns, row) {
  const { key = null, cells } = Array.isArray(row) ? { cells: row } : row;
  return h("tr", { "data-key": key, role: "row" }, cells.map((cell, place) => h("td", { class: columns[place][1], role: "cell" }, cell)));
}

/** Room for a table, which scrolls sideways where the table is wider; then the keyboard reaches it, so that it can be scrolled. */
export function room() {
  const element = h("div", { class: "scroll" });
  const look = () => {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  };
  new ResizeObserver(look).observe(element);
  new MutationObserver(look).observe(element, { childList: true, subtree: true });
  return element;
}

/** A list of terms and what they stand for; what is null is left out. */
export function facts(pairs, kind = "facts") {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h("dl", { class: kind }, told.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

/** A section with its heading. */
export function section(heading, ...children) {
  return h("section", {}, h("h2", {}, heading), ...children);
}

/** Say something to whoever watches or listens. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = "";
  // Set anew a moment later, so that the same words twice are read out twice.
  setTimeout(() => {
    place.textContent = text;
  }, 50);
}

/** What is shown where something can't be. */
export function failure(error) {
  return h("p", { class: "failure", role: "alert" }, error.message);
}
