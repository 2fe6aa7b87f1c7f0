// Dark or light: as the system says until the person chooses. Colours for what is drawn on canvas come from the same place.

import { byId } from "/page/dom.js";

const STORED = "afterbell.theme";
const system = matchMedia("(prefers-color-scheme: light)");
const listeners = new Set();
const probe = document.createElement("i");

export const currentTheme = () => document.documentElement.dataset.theme ?? (system.matches ? "light" : "dark");

/** Returns a colour of theme.css as canvas understands it. */
export function color(name) {
  if (!probe.isConnected) {
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export function onTheme(listener) {
  listeners.add(listener);
}

function apply() {
  const theme = currentTheme();
  const other = theme === "dark" ? "light" : "dark";
  byId("theme").setAttribute("aria-label", `Switch to ${other} colours`);
  byId("theme").title = `Switch to ${other} colours (T)`;
  for (const listener of listeners) listener(theme);
}

export function toggleTheme() {
  const other = currentTheme() === "dark" ? "light" : "dark";
  localStorage.setItem(STORED, other);
  document.documentElement.dataset.theme = other;
  apply();
}

export function beginTheme() {
  const stored = localStorage.getItem(STORED);
  if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
  system.addEventListener("change", apply);
  byId("theme").addEventListener("click", toggleTheme);
  apply();
}
