// Ask before a wallet asks: what will be signed or sent, in words, with the exact bytes one click away. The dialog stays
// until the wallet has answered, and says its refusals in words. Must not: be shown for keys that sign without a prompt.

import { el, openDialog, showMessage } from "/page/dom.js";
import { inWords } from "/page/api.js";
import { Abandoned } from "/page/wallet_errors.js";

/** Writes typed data or a transaction so that a person can compare it with the wallet's window. */
export const showJson = (content) => JSON.stringify(content, (_, value) => (typeof value === "bigint" ? String(value) : value), 2);

export function buildLines(lines) {
  return el("dl", { class: "lines" }, ...lines.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
}

export function buildDetails(content, title = "Details: exactly what the wallet gets") {
  return el("details", { "data-testid": "details" }, el("summary", {}, title), el("pre", { class: "mono", tabindex: "0" }, showJson(content)));
}

/**
 * Shows lines and details, runs `action` when the person agrees, keeps the dialog open while the wallet is asked, and
 * lets the person try again after a refusal. Returns what `action` returned. Raises: Abandoned when it is closed.
 */
export function askFirst({ title, lines, details, walletName, verb = "Sign" }, action) {
  return new Promise((resolve, reject) => {
    let isDone = false;
    const { dialog, body, close } = openDialog(title, {
      testid: "review",
      onClose: () => {
        if (!isDone) reject(new Abandoned("You closed the question; nothing was signed or sent from here."));
      },
    });
    const agree = el("button", { class: "primary", type: "button", "data-testid": "review-agree" }, `${verb} in ${walletName}`);
    const note = el("p", { class: "progress", role: "status", "data-testid": "review-progress", hidden: true });
    const error = el("p", { class: "error", role: "alert", "data-testid": "review-error", hidden: true });
    agree.addEventListener("click", async () => {
      agree.disabled = true;
      showMessage(error, "");
      showMessage(note, `Waiting for ${walletName}: read the request in its window and answer it there.`);
      try {
        const answer = await action();
        isDone = true;
        close();
        resolve(answer);
      } catch (problem) {
        showMessage(note, "");
        showMessage(error, inWords(problem));
        agree.disabled = false;
        if (dialog.open) agree.focus();
      }
    });
    body.append(
      buildLines(lines),
      details ? buildDetails(details) : "",
      note,
      error,
      el("div", { class: "actions" }, el("button", { class: "ghost", type: "button", "data-testid": "review-cancel", onclick: close }, "Not now"), agree),
    );
    agree.focus();
  });
}

/** Shows details only, nothing to agree to. */
export function showDetails(title, lines, details) {
  const { body } = openDialog(title, { testid: "preview" });
  body.append(lines.length ? buildLines(lines) : "", el("pre", { class: "mono open", tabindex: "0", "data-testid": "preview-json" }, showJson(details)));
}
