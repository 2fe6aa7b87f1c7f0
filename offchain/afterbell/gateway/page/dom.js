// Small tools around the document. Text is always set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** Builds an element: el("td", {class: "num", title: "…"}, "text" | node …). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets text only where it changed: less work for the browser, and nothing is read out twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a message, or hides the place where it stands. */
export function showMessage(node, text) {
  node.hidden = !text;
  setText(node, text ?? "");
}

/** Makes one of the tabs of a group the active one: to the eye, to a screen reader and to the Tab key. */
export function activate(group, chosen) {
  for (const button of group.querySelectorAll("button")) {
    const isChosen = button === chosen;
    button.classList.toggle("active", isChosen);
    button.setAttribute("role", "tab");
    button.setAttribute("aria-selected", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
  }
}

/** Lets a group of buttons act as tabs; arrow keys move between them. */
export function wireTabs(group, onChoose) {
  const buttons = () => [...group.querySelectorAll("button")].filter((button) => !button.hidden && !button.disabled);
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || !group.contains(button)) return;
    activate(group, button);
    onChoose(button);
  });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = buttons();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    next.click();
  });
  const first = group.querySelector("button.active") ?? group.querySelector("button");
  if (first) activate(group, first);
}

/**
 * Shows `entries` as children of `parent`, each built once and rebuilt only when what it prints changed, so that focus
 * and text selections stay where they are. `print` is whatever the node depends on; `build` returns the node.
 */
export function updateRows(parent, entries, { key, print, build }) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = entries.map((entry) => {
    const name = String(key(entry));
    const shown = JSON.stringify(print(entry), (_, value) => (typeof value === "bigint" ? String(value) : value));
    const old = known.get(name);
    if (old && old.shown === shown) return old;
    const node = build(entry);
    node.dataset.key = name;
    node.shown = shown;
    if (old) keepFocus(old, node);
    return node;
  });
  if (nodes.length === parent.children.length && nodes.every((node, index) => parent.children[index] === node)) return;
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  parent.replaceChildren(...nodes);
  const wanted = nodes.map((node) => node.wantsFocus).find(Boolean) ?? (focused && parent.contains(focused) ? focused : null);
  for (const node of nodes) node.wantsFocus = null;
  if (wanted && document.activeElement !== wanted) wanted.focus({ preventScroll: true });
}

/** Notes which part of a rebuilt row had the focus, by its test id. */
function keepFocus(old, node) {
  if (!old.contains(document.activeElement)) return;
  const name = document.activeElement.dataset.testid;
  node.wantsFocus = name === node.dataset.testid ? node : node.querySelector(`[data-testid="${name}"]`);
}

/** Opens a dialog of its own; it leaves the document when it closes. Returns {dialog, body, close}. */
let nDialogs = 0;

export function openDialog(title, { testid = "dialog", onClose = null } = {}) {
  nDialogs += 1;
  const headingId = `dialog-${testid}-${nDialogs}`;
  const body = el("div", { class: "dialog-body" });
  const dialog = el(
    "dialog",
    { class: "sheet", "data-testid": testid, "aria-labelledby": headingId },
    el(
      "div",
      { class: "sheet-head" },
      el("h2", { id: headingId }, title),
      el("button", { class: "ghost", type: "button", "data-testid": `${testid}-close`, onclick: () => dialog.close() }, "Close"),
    ),
    body,
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (onClose) onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  // Gone at once: its close event comes later, and the next question must not stand beside it.
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  return { dialog, body, close };
}

/** Copies text; where the browser forbids it, shows it. */
export async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    toast(what, text);
  }
}

/** A hash that can be copied, shortened for a table. */
export function hashButton(hash, what = "Transaction") {
  if (!hash) return el("span", { class: "muted" }, "–");
  const text = `${hash.slice(0, 10)}…${hash.slice(-6)}`;
  return el(
    "button",
    {
      class: "mono hash",
      type: "button",
      title: `${hash} – click to copy`,
      "aria-label": `${what} ${hash}, copy`,
      onclick: (event) => {
        event.stopPropagation();
        copyText(hash, what);
      },
    },
    text,
  );
}

const TOAST_MS = { bad: 9_000 };
const MAX_TOASTS = 4;

export function toast(title, text = "", kind = "") {
  const place = byId("toasts");
  const node = el("div", { class: `toast ${kind}` }, el("b", {}, title), text ? el("small", {}, text) : null);
  place.append(node);
  while (place.children.length > MAX_TOASTS) place.firstChild.remove();
  setTimeout(() => node.remove(), TOAST_MS[kind] ?? 5_000);
}
