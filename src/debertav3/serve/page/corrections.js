// "This is wrong": right answers collected in this browser, given as JSON lines that `debertav3 finetune` reads.

import { byId, download, h, toast } from "./dom.js";
import { toJsonLines } from "./tables.js";
import { codePoint } from "./text.js";

const STORE = "debertav3-corrections";
const COMMANDS = { nli: "nli", classify: "custom", "zero-shot": "custom", qa: "qa" };

function read() {
  try { return JSON.parse(localStorage.getItem(STORE)) ?? {}; } catch { return {}; }
}

function write(all) {
  try { localStorage.setItem(STORE, JSON.stringify(all)); } catch { toast("This browser keeps nothing: download before you leave"); }
  showCount();
}

const sameInput = (one, other) => JSON.stringify({ ...one, label: 0, answers: 0 }) === JSON.stringify({ ...other, label: 0, answers: 0 });

/** Keep a row; one with the same input is replaced. */
export function correct(task, row) {
  const all = read();
  all[task] = [...(all[task] ?? []).filter((one) => !sameInput(one, row)), row];
  write(all);
  toast("Correction kept in this browser");
}

export function showCount() {
  const all = read(), count = Object.values(all).flat().length, place = byId("corrections");
  place.hidden = !count;
  if (!count) return place.replaceChildren();
  place.replaceChildren(h("h2", {}, `${count} ${count > 1 ? "corrections" : "correction"}`),
    h("p", { class: "muted" }, "Kept in this browser only. Download them and fine-tune:"),
    ...Object.entries(all).filter(([, rows]) => rows.length).map(([task, rows]) => h("div", { class: "row" },
      h("button", { type: "button", onclick: () => download(`corrections-${task}.jsonl`, "application/x-ndjson", toJsonLines(rows)) },
        `Download ${rows.length} for ${task}`),
      h("code", {}, `debertav3 finetune ${COMMANDS[task]} --model MODEL --train corrections-${task}.jsonl --out corrected`))),
    h("button", { type: "button", class: "quiet", onclick: () => { write({}); } }, "Forget them"));
}

/** The row that a correction makes of a task's values. */
export function rowOf(task, values, label) {
  if (task === "nli") return { premise: values.premise, hypothesis: values.hypothesis, label };
  if (task === "zero-shot") return { text: values.texts.trim(), label };
  return values.second?.trim() ? { text: values.text, text_pair: values.second, label } : { text: values.text, label };
}

/** The control for one answer, or null where a task has none. */
export function corrector(task, values, shown) {
  if (task === "qa") return spanCorrector(values);
  if (!(task in COMMANDS) || !shown.label || !shown.scores) return null;
  const own = { ...values };
  const select = h("select", { "aria-label": "Right answer" }, h("option", { value: "" }, "right answer …"),
    Object.keys(shown.scores).map((label) => h("option", { value: label }, label)));
  select.addEventListener("change", () => {
    if (!select.value) return;
    correct(task, rowOf(task, own, select.value));
    box.replaceChildren(h("span", { class: "muted" }, `Kept: ${select.value}`));
  });
  const button = h("button", { type: "button", class: "quiet", onclick: () => { box.replaceChildren(select); select.focus(); } }, "This is wrong");
  const box = h("span", { class: "corrector" }, button);
  return box;
}

/** For answers in a text: select the right span in the text's box, or say that there is none. */
function spanCorrector(values) {
  const own = { ...values };
  const keep = (answers) => { correct("qa", { question: own.question, context: own.context, answers }); box.replaceChildren(h("span", { class: "muted" }, answers.text.length ? `Kept: ${answers.text[0]}` : "Kept: no answer")); };
  const take = () => {
    const area = document.querySelector('textarea[data-field="context"]');
    const text = own.context.slice(area.selectionStart, area.selectionEnd);
    if (area.value !== own.context || !text.trim()) return toast("Select the right answer in the box of the text first");
    const start = area.selectionStart + (text.length - text.trimStart().length);
    keep({ text: [text.trim()], answer_start: [codePoint(own.context, start)] });
  };
  const box = h("span", { class: "corrector" }, h("button", { type: "button", class: "quiet", onclick: () => box.replaceChildren(
    h("button", { type: "button", class: "quiet", onclick: take }, "The selection in the text is right"),
    h("button", { type: "button", class: "quiet", onclick: () => keep({ text: [], answer_start: [] }) }, "There is no answer")) }, "This is wrong"));
  return box;
}
