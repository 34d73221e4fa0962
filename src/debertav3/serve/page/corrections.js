// "This is wrong": right answers collected in this browser, given as JSON lines that `debertav3 finetune` reads.

import { byId, download, h, toast } from "./dom.js";
import { toJsonLines } from "./tables.js";
import { codePoint, lines, slicer } from "./text.js";

const STORE = "debertav3-corrections";
const COMMANDS = { choice: "choice", nli: "nli", classify: "custom", "zero-shot": "custom", qa: "qa", ner: "ner", rerank: "custom --label-kind ranking" };
const ANSWERS = ["label", "answers", "entities", "positive", "negative"];

function read() {
  try { return JSON.parse(localStorage.getItem(STORE)) ?? {}; } catch { return {}; }
}

function write(all) {
  try { localStorage.setItem(STORE, JSON.stringify(all)); } catch { toast("This browser cannot store corrections: download them before you leave"); }
  showCount();
}

const inputOf = (row) => JSON.stringify([Object.entries(row).filter(([name]) => !ANSWERS.includes(name)), [...row.positive ?? [], ...row.negative ?? []].sort()]);

/** Keep a row; one with the same input is replaced. */
export function correct(task, row) {
  const all = read();
  all[task] = [...(all[task] ?? []).filter((one) => inputOf(one) !== inputOf(row)), row];
  write(all);
  toast("Correction saved in this browser");
}

export function showCount() {
  const all = read(), count = Object.values(all).flat().length, place = byId("corrections");
  place.hidden = !count;
  if (!count) return place.replaceChildren();
  place.replaceChildren(h("h2", {}, `${count} ${count > 1 ? "corrections" : "correction"}`),
    h("p", { class: "muted" }, "Saved in this browser only. Download them to fine-tune:"),
    ...Object.entries(all).filter(([, rows]) => rows.length).map(([task, rows]) => h("div", { class: "row" },
      h("button", { type: "button", onclick: () => download(`corrections-${task}.jsonl`, "application/x-ndjson", toJsonLines(rows)) },
        `Download ${rows.length} for ${task}`),
      h("code", {}, `debertav3 finetune ${COMMANDS[task]} --model MODEL --train corrections-${task}.jsonl --out corrected`))),
    h("button", { type: "button", class: "quiet start", onclick: () => { write({}); } }, "Delete them"));
}

/** The row that a correction makes of a task's values. */
export function rowOf(task, values, label) {
  if (task === "nli") return { premise: values.premise, hypothesis: values.hypothesis, label };
  if (task === "zero-shot") return { text: values.texts.trim(), label };
  return values.second?.trim() ? { text: values.text, text_pair: values.second, label } : { text: values.text, label };
}

/** The control for one answer, or null where a task has none; `kinds` are those of a head for entities. */
export function corrector(task, values, shown, answer, kinds) {
  const own = { ...values }, [result] = answer.results;
  if (task === "qa") return box((keep) => spanChoices(own, keep), task);
  if (task === "ner") return box((keep) => entityChoices(own.text, result.entities, kinds, keep), task);
  if (task === "rerank") return box((keep) => passageChoices(own, answer.results, keep), task);
  if (task === "choice") return box((keep) => rightChoices(own, keep), task);
  if (task === "zero-shot" && answer.results.length > 1) return box((keep) => textChoices(own, answer.results, keep), task);
  if (!(task in COMMANDS) || !shown.label || !shown.scores) return null;
  return box((keep) => [h("select", { "aria-label": "Correct answer", onchange: ({ target }) => target.value && keep(rowOf(task, own, target.value), target.value) },
    h("option", { value: "" }, "correct answer …"), Object.keys(shown.scores).map((label) => h("option", { value: label }, label)))], task);
}

/** A button that opens what is to be chosen. */
function box(choices, task) {
  const keep = (row, what) => {
    correct(task, row);
    place.replaceChildren(h("span", { class: "muted" }, `Saved: ${what}`));
    place.classList.remove("wide");
  };
  const open = () => {
    place.replaceChildren(...choices(keep));
    place.classList.toggle("wide", place.children.length > 1);
    place.querySelector("select, button, input")?.focus();
  };
  const place = h("span", { class: "corrector" }, h("button", { type: "button", class: "quiet", onclick: open }, "This is wrong"));
  return place;
}

/** What is selected in the box of a text, without white space around it; offsets in code points. */
function selection(text) {
  const area = [...document.querySelectorAll("textarea")].find((one) => one.value === text && one.selectionEnd > one.selectionStart);
  const own = area ? text.slice(area.selectionStart, area.selectionEnd) : "";
  if (!own.trim()) return void toast("Select it in the text box first");
  const start = codePoint(text, area.selectionStart + own.length - own.trimStart().length);
  return { text: own.trim(), start, end: start + Array.from(own.trim()).length };
}

const kept = (onclick) => h("button", { type: "button", class: "main", onclick }, "Keep");
const button = (text, onclick) => h("button", { type: "button", class: "quiet", onclick }, text);

function spanChoices({ question, context }, keep) {
  const take = () => {
    const found = selection(context);
    if (found) keep({ question, context, answers: { text: [found.text], answer_start: [found.start] } }, found.text);
  };
  return [button("The selected text is correct", take),
    button("There is no answer", () => keep({ question, context, answers: { text: [], answer_start: [] } }, "no answer"))];
}

/** Entities to take away, and selections to mark. */
function entityChoices(text, found, kinds, keep) {
  let marks = found.map(({ start, end, entity_group }) => ({ start, end, label: entity_group }));
  const list = h("span", { class: "row" }), kind = h("select", { "aria-label": "Entity type" }, kinds.map((one) => h("option", { value: one }, one)));
  const draw = () => list.replaceChildren(...marks.map((mark) => h("button", { type: "button", class: "chip", "aria-label": `Remove ${slicer(text)(mark.start, mark.end)}`,
    onclick: () => { marks = marks.filter((one) => one !== mark); draw(); } }, `${slicer(text)(mark.start, mark.end)} ${mark.label} ✕`)));
  const add = () => {
    const own = selection(text);
    if (!own) return;
    marks = [...marks.filter((one) => one.end <= own.start || one.start >= own.end), { start: own.start, end: own.end, label: kind.value }].sort((a, b) => a.start - b.start);
    draw();
  };
  draw();
  return [list, kind, button("Mark the selection", add), kept(() => keep({ text, entities: marks }, `${marks.length} ${marks.length === 1 ? "entity" : "entities"}`))];
}

/** The choice that is right. */
function rightChoices({ context, choices }, keep) {
  const all = lines(choices);
  return [h("select", { "aria-label": "Correct choice", onchange: ({ target }) => target.value && keep({ context, choices: all, label: Number(target.value) }, all[target.value]) },
    h("option", { value: "" }, "correct choice …"), all.map((choice, index) => h("option", { value: index }, choice)))];
}

/** The right label of each of several texts; those left open are not kept. */
function textChoices(values, results, keep) {
  const picks = lines(values.texts).map((text, index) => [text, h("select", { "aria-label": `Correct label of ${text}` },
    h("option", { value: "" }, "as it is"), [...results[index].labels].sort().map((label) => h("option", { value: label }, label)))]);
  const take = () => {
    const chosen = picks.filter(([, pick]) => pick.value);
    if (!chosen.length) return toast("Choose a correct label first");
    chosen.forEach(([text, pick]) => keep({ text, label: pick.value }, `${chosen.length} ${chosen.length > 1 ? "labels" : "label"}`));
  };
  return [h("fieldset", {}, h("legend", {}, "Which labels are correct?"), picks.map(([text, pick]) => h("label", { class: "check" }, pick, text))), kept(take)];
}

/** Passages to tick that answer the query. */
function passageChoices(values, results, keep) {
  const query = values.query.trim(), passages = lines(values.passages);
  const ticks = results.map(({ index, score }) => [passages[index], h("input", { type: "checkbox", checked: score >= 0.5 })]);
  const take = () => {
    const chosen = (wanted) => ticks.filter(([, tick]) => tick.checked === wanted).map(([passage]) => passage);
    keep({ query, positive: chosen(true), negative: chosen(false) }, `${chosen(true).length} of ${ticks.length} answer it`);
  };
  return [h("fieldset", {}, h("legend", {}, "Which passages answer the query?"), ticks.map(([passage, tick]) => h("label", { class: "check" }, tick, passage))), kept(take)];
}
