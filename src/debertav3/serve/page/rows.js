// A table comes back with scores: what is in view first, in small requests, until cancelled.

import { post, server } from "./api.js";
import { download, h, labelled, toast } from "./dom.js";
import { choicesIn, FileProblem, freeName, guessColumns, textOf, toCsv, toJsonLines } from "./tables.js";
import { oddest, TASKS } from "./tasks.js";
import { percent } from "./text.js";

const PAGE = 20, CHUNK_ROWS = 64, CHUNK_CHARACTERS = 100_000;

/** What one row of an answer adds to the table: {name: value}. */
export function addedBy(task, result) {
  if (task === "zero-shot") return { predicted: result.labels[0], score: result.scores[0], ...Object.fromEntries(result.labels.map((label, index) => [`score ${label}`, result.scores[index]])) };
  if (task === "rerank") return { score: result.score };
  if (task === "choice") return { predicted: result.text, score: result.score, index: result.index };
  if (task === "fill-mask") return { predicted: result.masks.map(([best]) => best.token_str.trim()).join(" | "), score: result.masks[0][0].score };
  if (task === "rtd") { const top = oddest(result.words); return { predicted: top?.word ?? "", score: top?.score ?? 0 }; }
  if (task === "ner") return { entities: result.entities };
  if (task === "qa") return { answer: result.answer, score: result.score, start: result.start, end: result.end, no_answer_score: result.no_answer_score };
  if (result.label === null) return { predicted: result.score };
  return { predicted: result.label, score: result.score, ...Object.fromEntries(Object.entries(result.scores).map(([label, score]) => [`score ${label}`, score])) };
}

export class FileTable {
  constructor(app, place, name, table) {
    Object.assign(this, { app, place, name, table, page: 0 });
    this.scores = new Map();
    this.problems = new Map();
  }

  get task() { return TASKS[this.app.task]; }
  get fields() { return this.task.fields.filter((field) => !field.setting); }
  get numPages() { return Math.ceil(this.table.rows.length / PAGE); }

  taskChanged() {
    this.cancel();
    this.show();
  }

  /** What all rows are scored with: the model, and the fields above that are not columns. */
  setting() { return JSON.stringify([this.app.panes[0].model, this.task.many([], this.app.values())]); }

  settingsChanged() {
    if (this.scores.size && !this.running && !this.place.hidden && this.wasOld !== this.isOld()) this.draw();
  }

  isOld() { return this.scores.size > 0 && this.scoredWith !== this.setting(); }

  cancel() {
    this.running?.abort();
    this.running = null;
  }

  show() {
    this.scores.clear();
    this.problems.clear();
    const { rows, columns } = this.table;
    const head = h("div", { class: "row" }, h("h2", {}, this.name), h("span", { class: "muted" }, `${rows.length.toLocaleString("en")} rows`),
      h("button", { type: "button", class: "quiet", onclick: () => { this.cancel(); this.place.hidden = true; this.place.replaceChildren(); } }, "Close"));
    this.columns = guessColumns(this.fields, columns);
    const selects = this.fields.map((field) => labelled(`Column: ${field.label.replace(/, .*/, "").toLowerCase()}`, h("select", {
      onchange: (event) => { this.columns[field.name] = event.target.value; this.cancel(); this.scores.clear(); this.problems.clear(); this.draw(); } },
      h("option", { value: "" }, field.optional ? "(none)" : "choose …"), columns.map((column) => h("option", { value: column, selected: column === this.columns[field.name] }, column)))));
    this.go = h("button", { type: "button", class: "main", onclick: () => (this.running ? this.cancel() : this.run()) }, "Score");
    this.bar = h("progress", { max: rows.length, value: 0, "aria-label": "Rows scored" });
    this.note = h("span", { class: "muted", role: "status" });
    this.saves = h("span", { class: "row", hidden: true },
      h("button", { type: "button", onclick: () => this.save("csv") }, "Download CSV"), h("button", { type: "button", onclick: () => this.save("jsonl") }, "Download JSONL"));
    this.body = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rows of the file" });
    this.pager = h("nav", { class: "row", "aria-label": "Pages of the file" });
    this.place.replaceChildren(head, h("div", { class: "columns" }, selects), h("div", { class: "row" }, this.go, this.bar, this.note, this.saves), this.body, this.pager);
    this.draw();
  }

  inView() {
    return Array.from({ length: Math.min(PAGE, this.table.rows.length - this.page * PAGE) }, (_, index) => this.page * PAGE + index);
  }

  draw() {
    const shown = this.fields.filter((field) => this.columns[field.name]);
    this.body.replaceChildren(h("table", { class: "rows" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "#"), shown.map((field) => h("th", { scope: "col" }, this.columns[field.name])), h("th", { scope: "col" }, "Answer"), h("th", { scope: "col" }, "Score"))),
      h("tbody", {}, this.inView().map((row) => {
        const added = this.scores.get(row), problem = this.problems.get(row);
        const answer = added?.predicted ?? added?.answer ?? added?.entities?.map((one) => `${one.word} (${one.entity_group})`).join(", ") ?? problem ?? "";
        return h("tr", {}, h("td", { class: "muted" }, String(row + 1)), shown.map((field) => h("td", {}, h("span", { class: "clamp" }, this.text(row, field.name)))),
          h("td", { class: problem ? "error" : "" }, String(answer)), h("td", { class: "number" }, typeof added?.score === "number" ? percent(added.score) : ""));
      }))));
    const turn = (by) => { this.page += by; this.draw(); };
    this.pager.replaceChildren(...(this.numPages < 2 ? [] : [
      h("button", { type: "button", class: "quiet", disabled: !this.page, onclick: () => turn(-1) }, "‹ Back"),
      h("span", { class: "muted" }, `${this.page + 1} of ${this.numPages}`),
      h("button", { type: "button", class: "quiet", disabled: this.page + 1 >= this.numPages, onclick: () => turn(1) }, "Next ›")]));
    const done = this.scores.size + this.problems.size, total = this.table.rows.length;
    this.bar.value = done;
    this.note.textContent = done ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}${this.problems.size ? `, ${this.problems.size} not scored` : ""}` : "";
    this.wasOld = !this.running && this.isOld();
    this.go.textContent = this.running ? "Cancel" : this.wasOld ? "Score again" : done && done < total ? "Continue" : "Score";
    this.go.disabled = done === total && !this.wasOld;
    this.saves.hidden = !this.scores.size;
  }

  cell(row, field) { return (this.columns[field] && this.table.rows[row][this.columns[field]]) ?? ""; }

  text(row, field) {
    const value = this.cell(row, field);
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  /** The texts of a row; `FileProblem` if a cell holds something else. */
  values(row) {
    return Object.fromEntries(this.fields.map(({ name, isList }) => [name, (isList ? choicesIn : textOf)(this.cell(row, name))]));
  }

  /** Why a row cannot be scored, if it cannot. */
  unfit(row) {
    try {
      const values = this.values(row);
      return this.fields.some(({ name, optional }) => !optional && !String(values[name]).trim()) ? "empty text" : this.task.unfit?.(values);
    } catch (error) {
      if (!(error instanceof FileProblem)) throw error;
      return error.message;
    }
  }

  /** The next rows to score: those in view before the others. */
  next() {
    const isOpen = (row) => !this.scores.has(row) && !this.problems.has(row);
    const chunk = [];
    let characters = 0;
    const most = Math.max(1, Math.min(CHUNK_ROWS, Math.floor(server.maxInputs / (this.task.weight?.(this.app.values()) || 1))));
    const take = (row) => {
      if (!isOpen(row) || chunk.length >= most || (chunk.length && characters > CHUNK_CHARACTERS)) return;
      const problem = this.unfit(row);
      if (problem) return this.problems.set(row, problem);
      characters += Object.values(this.values(row)).join("").length;
      chunk.push(row);
    };
    this.inView().forEach(take);
    while (this.first < this.table.rows.length && !isOpen(this.first)) this.first++;
    for (let row = this.first; row < this.table.rows.length && chunk.length < most && characters <= CHUNK_CHARACTERS; row++) if (!chunk.includes(row)) take(row);
    return chunk;
  }

  async run() {
    const missing = this.fields.find((field) => !field.optional && !this.columns[field.name]);
    if (missing) return toast(`Choose the column for ${missing.label.toLowerCase()}`);
    if (this.task.weight && !this.task.weight(this.app.values())) return toast(`Write the ${this.task.needs} above first`);
    const problem = this.task.problem?.(this.app.values());
    if (problem) return toast(problem);
    if (this.scoredWith !== this.setting()) { // rows of one table are never scored with different settings
      this.scores.clear();
      this.problems.clear();
    }
    const running = (this.running = new AbortController());
    this.first = 0;
    this.scoredWith = this.setting();
    this.settings = { ...this.app.values() };
    this.model = this.app.panes[0].model;
    try {
      for (let chunk = this.next(); chunk.length; chunk = this.next()) {
        await this.score(chunk, running.signal);
        if (running.signal.aborted) break;
        this.draw();
      }
    } catch (error) {
      if (!running.signal.aborted) { this.note.textContent = ""; toast(error.message); }
    } finally {
      if (this.running === running) this.running = null;
      if (!this.place.hidden && this.go?.isConnected) this.draw();
    }
  }

  /** Score rows; where the server refuses them together, half by half, down to the row that is at fault. */
  async score(chunk, signal) {
    try {
      const body = { ...this.task.many(chunk.map((row) => this.values(row)), this.settings) };
      if (server.models.length > 1) body.model = this.model;
      const answer = await post(this.task.route, body, signal);
      if (signal.aborted) return;
      answer.results.forEach((result, index) => this.scores.set(chunk[this.task.ranks ? result.index : index], addedBy(this.app.task, result)));
    } catch (error) {
      if (signal.aborted || ![400, 413, 422, 504].includes(error.status)) throw error;
      if (chunk.length === 1) { this.problems.set(chunk[0], error.message); return; }
      const half = chunk.length >> 1;
      await this.score(chunk.slice(0, half), signal);
      await this.score(chunk.slice(half), signal);
    }
  }

  save(format) {
    const { columns, rows, delimiter = ",", format: source } = this.table;
    const names = new Map();
    for (const added of this.scores.values()) for (const name of Object.keys(added)) if (!names.has(name)) names.set(name, freeName(name, [...columns, ...names.values()]));
    const scored = rows.map((row, index) => ({ ...row, ...Object.fromEntries(Object.entries(this.scores.get(index) ?? {}).map(([name, value]) => [names.get(name), value])) }));
    const stem = this.name.replace(/\.[^.]*$/, "") + ".scored";
    if (format === "jsonl") download(`${stem}.jsonl`, "application/x-ndjson", toJsonLines(scored));
    else download(`${stem}.csv`, "text/csv", (source === "xlsx" ? "\uFEFF" : "") + toCsv([...columns, ...names.values()], scored, { delimiter, isForSheets: source === "xlsx" })); // Excel needs the mark to see UTF-8
  }
}
