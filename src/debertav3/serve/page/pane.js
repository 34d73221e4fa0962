// One model's answer to one input: the form, the request while typing, the result and its panel "Why".

import { address, hasKey, post, ServerError, server } from "./api.js";
import { corrector } from "./corrections.js";
import { copy, debounce, h, labelled, toast } from "./dom.js";
import { TASKS } from "./tasks.js";
import { snippet } from "./text.js";
import { explain } from "./why.js";

const TYPING = 120, THINKING = 500;

export class Pane {
  /** `app` has task, why, changed() and answered(pane); `values` may be shared with another pane. */
  constructor(app, name) {
    this.app = app;
    this.name = name;
    this.values = {};
    this.model = null;
    this.form = h("form", { class: "inputs", "aria-label": `Input ${name}`, onsubmit: (event) => { event.preventDefault(); this.app.now(); } });
    this.status = h("p", { class: "status muted" });
    this.view = h("div", { class: "view" });
    this.actions = h("div", { class: "row actions" });
    this.why = h("div", { class: "why", role: "region", "aria-label": `Why, ${name}` });
    this.picker = h("div", { class: "picker" });
    this.output = h("section", { class: "output", "aria-label": `Answer ${name}` }, this.picker, this.view, this.status, this.actions, this.why);
    this.later = debounce(() => this.ask(), TYPING);
    this.explainLater = debounce(() => this.explain(), THINKING);
  }

  get task() { return TASKS[this.app.task]; }
  get models() { return server.models.filter((one) => one.tasks.includes(this.app.task)); }

  /** Fill in what a task's fields have by default. */
  start(values) {
    this.values = values;
    for (const field of this.task.fields) this.values[field.name] ??= field.value ?? "";
    if (!this.models.some((one) => one.name === this.model)) this.model = this.models[0]?.name ?? null;
    this.answer = this.shown = null; // nothing of another task is compared, explained or read out
    for (const part of [this.view, this.status, this.actions, this.why]) part.replaceChildren();
    this.why.removeAttribute("aria-busy");
    this.build();
  }

  build() {
    this.controls = {};
    const controls = this.task.fields.filter((field) => field.kind !== "hidden").map((field) => this.control(field));
    const chips = h("div", { class: "chips", role: "group", "aria-label": "Examples" }, this.task.examples.map((example) =>
      h("button", { type: "button", class: "chip", title: Object.values(example).join(" · "), onclick: () => this.set(example) },
        example.hypothesis ?? example.query ?? example.question ?? example.text ?? example.labels ?? example.context)));
    const swap = this.task.canSwap && h("button", { type: "button", class: "quiet swap", title: "Alt+X", onclick: () => this.swap() }, "⇅ Swap");
    this.form.replaceChildren(chips, ...controls.flatMap((one, index) => (index === 0 && swap ? [one, swap] : [one])));
    this.pick();
  }

  pick() {
    if (this.models.length < 2) return this.picker.replaceChildren();
    const select = h("select", { onchange: (event) => { this.model = event.target.value; this.app.changed(); this.ask(); } },
      this.models.map((one) => h("option", { value: one.name, selected: one.name === this.model }, `${one.name} · ${one.dtype}`)));
    this.picker.replaceChildren(labelled("Model", select));
  }

  control(field) {
    const value = this.values[field.name];
    const changed = (event) => {
      this.values[field.name] = field.kind === "check" ? (event.target.checked ? "1" : "") : event.target.value;
      this.app.changed();
      this.app.later();
    };
    const common = { "data-field": field.name, oninput: changed, spellcheck: "false", autocomplete: "off" };
    let element, extra = null;
    if (field.kind === "check") {
      element = h("input", { type: "checkbox", ...common, checked: Boolean(value) });
      this.controls[field.name] = element;
      return h("label", { class: "check" }, element, field.label);
    }
    if (field.kind === "select") element = h("select", common, field.options.map((one) => h("option", { value: one, selected: one === value }, one)));
    else if (field.kind === "line") element = h("input", { type: "text", ...common, value });
    else element = h("textarea", { rows: field.kind === "lines" ? 4 : 2, ...common, value });
    if (field.insert) {
      extra = h("button", { type: "button", class: "quiet", onclick: () => {
        element.setRangeText(field.insert, element.selectionStart, element.selectionEnd, "end");
        element.dispatchEvent(new Event("input"));
        element.focus();
      } }, `Insert ${field.insert}`);
    }
    this.controls[field.name] = element;
    return labelled(field.label, element, extra);
  }

  /** Take an example or swapped values. */
  set(values) {
    for (const field of this.task.fields) {
      if (field.kind === "select") continue;
      this.values[field.name] = values[field.name] ?? field.value ?? "";
      const element = this.controls[field.name];
      if (element) field.kind === "check" ? (element.checked = Boolean(this.values[field.name])) : (element.value = this.values[field.name]);
    }
    this.app.changed();
    this.app.now(this);
  }

  swap() {
    if (this.task.canSwap) this.set({ premise: this.values.hypothesis, hypothesis: this.values.premise });
  }

  body() {
    const body = this.task.body(this.values);
    return body && (server.models.length > 1 ? { model: this.model, ...body } : body);
  }

  stop() {
    this.later.cancel();
    this.explainLater.cancel();
    this.asking?.abort();
    this.explaining?.abort();
  }

  /** Ask the server; an answer to an earlier question is dropped. */
  async ask() {
    this.stop();
    const body = this.body(), problem = body && this.task.problem?.(this.values);
    if (!body || problem) {
      this.answer = this.shown = null;
      this.view.replaceChildren(h("p", { class: problem ? "error" : "hint muted" }, problem || this.task.hint || "Enter a text, or choose an example."));
      this.status.replaceChildren();
      this.actions.replaceChildren();
      this.why.replaceChildren();
      for (const part of [this.output, this.why]) part.removeAttribute("aria-busy");
      return this.app.answered(this);
    }
    const asking = (this.asking = new AbortController()), values = { ...this.values }, began = performance.now();
    this.output.setAttribute("aria-busy", "true");
    if (this.app.why && this.task.canExplain) this.why.setAttribute("aria-busy", "true"); // until it explains the new answer
    try {
      const answer = await post(this.task.route, body, asking.signal);
      if (asking.signal.aborted) return;
      this.answer = answer;
      this.render(values, body, performance.now() - began);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.answer = this.shown = null;
      this.view.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
      this.status.replaceChildren();
      this.why.replaceChildren();
      this.why.removeAttribute("aria-busy");
      this.actions.replaceChildren();
      this.app.answered(this);
      if (error instanceof ServerError && error.status === 401) this.app.needKey();
      else if (!(error instanceof ServerError)) throw error;
    } finally {
      if (this.asking === asking) this.output.removeAttribute("aria-busy");
    }
  }

  render(values, body, milliseconds) {
    const { answer } = this;
    const onThreshold = (label, limit) => {
      const own = (this.values.thresholds ?? "").split(",").filter((one) => one && !one.startsWith(`${label}=`));
      this.values.thresholds = [...own, `${label}=${limit}`].join(",");
      this.app.changed();
      if (this.answer === answer) this.render({ ...values, thresholds: this.values.thresholds }, body, milliseconds);
    };
    this.shown = this.task.show(answer, values, { onThreshold });
    const before = this.shown.moves && new Map([...this.view.querySelectorAll("[data-key]")].map((one) => [one.dataset.key, one.getBoundingClientRect().top]));
    const focused = this.view.contains(document.activeElement) && document.activeElement.dataset.keep;
    this.view.replaceChildren(...[this.shown.view].flat().filter(Boolean));
    if (focused) [...this.view.querySelectorAll("[data-keep]")].find((one) => one.dataset.keep === focused)?.focus();
    if (before && !matchMedia("(prefers-reduced-motion: reduce)").matches) move(this.view, before);
    this.describe(answer, milliseconds);
    this.act(values, body);
    this.app.answered(this);
    if (this.app.why) this.explainLater();
  }

  describe({ milliseconds: took, tokens, results }, roundTrip) {
    const isCut = results.some((one) => one.truncated);
    const limit = server.models.find((one) => one.name === this.model)?.max_input_length;
    this.status.replaceChildren(
      h("span", { title: `tokenization ${took.tokenization} ms, queue ${took.queue} ms, compute ${took.compute} ms; ${roundTrip.toFixed(1)} ms with the network` }, `${took.total.toFixed(1)} ms`),
      ` · ${tokens} tokens · `, isCut ? h("strong", { class: "warn" }, `too long, truncated to ${limit} tokens`) : "not truncated");
  }

  act(values, body) {
    const url = address(this.task.route);
    const button = (language, name) => h("button", { type: "button", class: "quiet", onclick: () => copy(snippet(language, url, body, hasKey()), name) }, name);
    const labels = server.models.find((one) => one.name === this.model)?.labels ?? [];
    const fix = corrector(this.app.task, values, this.shown, this.answer, [...new Set(labels.filter((one) => one !== "O").map((one) => one.replace(/^[BIESLU]-/, "")))]);
    this.actions.replaceChildren(h("span", { class: "muted" }, "Copy as"), button("curl", "curl"), button("python", "Python"), button("javascript", "JavaScript"),
      h("button", { type: "button", class: "quiet", onclick: () => copy(this.app.link(), "Link") }, "Link"), fix ?? "");
  }

  /** Run the searches of "Why" for the answer shown. */
  explain() {
    this.explainLater.cancel();
    this.explaining?.abort();
    this.why.removeAttribute("aria-busy");
    if (!this.app.why || !this.task.canExplain || !this.shown?.label || !this.shown.scores) {
      return this.why.replaceChildren(this.app.why && this.shown && this.task.canExplain ? h("p", { class: "muted" }, "Only predictions with labels can be explained.") : "");
    }
    this.explaining = new AbortController();
    const texts = this.task.texts(this.values);
    explain(this.why, { task: this.app.task, model: this.model, texts, names: this.task.fields.slice(0, texts.length).map((field) => field.label),
      label: this.shown.label, scores: this.shown.scores, signal: this.explaining.signal });
  }
}

/** Let list items glide from where they were. */
function move(view, before) {
  for (const item of view.querySelectorAll("[data-key]")) {
    const by = before.get(item.dataset.key) - item.getBoundingClientRect().top;
    if (by) item.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 250, easing: "ease-out" });
  }
}
