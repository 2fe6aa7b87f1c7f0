// A list of steps of something that takes several: what is done, what is waited for, each with its transaction.

import { el, hashButton } from "/page/dom.js";
import { inWords } from "/page/api.js";

export class Steps {
  constructor(parent) {
    this.parent = parent;
    this.rows = [];
  }

  begin(titles) {
    this.rows = titles.map((title) => ({ title, state: "waiting", text: "", transaction: null }));
    this.draw();
  }

  clear() {
    this.begin([]);
  }

  set(index, change) {
    Object.assign(this.rows[index], change);
    this.draw();
  }

  active(index, text = "") {
    this.set(index, { state: "active", text });
  }

  done(index, text = "", transaction = null) {
    this.set(index, { state: "done", text, transaction: transaction ?? this.rows[index].transaction });
  }

  /** Runs one step; its failure stays visible where it happened. `work` returns {text, transaction} or nothing. */
  async run(index, text, work) {
    this.active(index, text);
    try {
      const answer = await work();
      this.done(index, answer?.text ?? "", answer?.transaction);
      return answer;
    } catch (error) {
      this.set(index, { state: "failed", text: inWords(error) });
      throw error;
    }
  }

  draw() {
    const words = { waiting: "to do", active: "now", done: "done", failed: "failed" };
    this.parent.hidden = !this.rows.length;
    this.parent.replaceChildren(
      ...this.rows.map((row) =>
        el(
          "li",
          { class: row.state, "data-testid": "step", "data-state": row.state },
          el("b", {}, row.title, el("span", { class: "sr" }, ` – ${words[row.state]}`)),
          row.text ? el("small", {}, row.text) : null,
          row.transaction ? el("small", {}, "transaction ", hashButton(row.transaction)) : null,
        ),
      ),
    );
  }
}
