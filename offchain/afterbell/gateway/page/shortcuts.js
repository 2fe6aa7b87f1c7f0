// Keyboard shortcuts: one letter each, never while typing, and they can be switched off.

import { el, openDialog } from "/page/dom.js";

const STORED = "afterbell.shortcuts";
const isOn = () => localStorage.getItem(STORED) !== "off";

const isTyping = (node) => node.closest?.("input, select, textarea, [contenteditable]") !== null;

/** shortcuts: [key, words, action]. */
export class Shortcuts {
  constructor(shortcuts) {
    this.shortcuts = shortcuts;
    document.addEventListener("keydown", (event) => this.hear(event));
  }

  hear(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      event.preventDefault();
      this.show();
      return;
    }
    if (!isOn()) return;
    const found = this.shortcuts.find(([key]) => key.toLowerCase() === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found[2]();
  }

  show() {
    const { body } = openDialog("Keyboard", { testid: "shortcuts" });
    const box = el("input", { type: "checkbox", checked: isOn(), "data-testid": "shortcuts-on" });
    box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
    const rows = [
      ...this.shortcuts.map(([key, words]) => [key.toUpperCase(), words]),
      ["Tab", "go to the next part; Shift+Tab back"],
      ["← →", "move between the tabs of a group"],
      ["↑ ↓", "in the book and the market list: choose a row; Enter takes it"],
      ["Enter", "in the form: send the order"],
      ["Esc", "close what is open"],
      ["?", "this list"],
    ];
    body.append(
      el("dl", { class: "keys" }, ...rows.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)])),
      el("label", { class: "checks" }, box, el("span", {}, "Letters act as shortcuts")),
    );
  }
}
