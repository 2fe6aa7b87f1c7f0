// Small helpers around the document. Text is always set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** Builds an element: el("td", {class: "num", title: "…"}, "text" | node …). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only where it changed: less work for the browser. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a message, or hides the place where it stands. */
export function showMessage(node, text) {
  node.hidden = !text;
  setText(node, text ?? "");
}

/** Makes one of the buttons of a group the active one. */
export function activate(group, chosen) {
  for (const button of group.querySelectorAll("button")) button.classList.toggle("active", button === chosen);
}

export function toast(title, text = "", kind = "") {
  const node = el("div", { class: `toast ${kind}` }, el("b", {}, title), text ? el("small", {}, text) : null);
  byId("toasts").append(node);
  while (byId("toasts").children.length > 4) byId("toasts").firstChild.remove();
  setTimeout(() => node.remove(), kind === "bad" ? 9_000 : 5_000);
}
