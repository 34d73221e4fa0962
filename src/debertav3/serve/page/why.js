// The panel "Why": what each word does, the fewest words that keep the answer, the smallest change that turns it.

import { scorer } from "./api.js";
import { h } from "./dom.js";
import { flip, leaveOneOut, reduce } from "./search.js";
import { percent, points, words } from "./text.js";

const spaced = (list, make) => list.map((word, index) => [index ? word.gap : "", make(word, index)]).flat();

function shaded(names, texts, effects, label) {
  const strongest = Math.max(0.02, ...effects.flat().map((effect) => Math.abs(effect ?? 0)));
  return texts.map((text, field) => h("p", { class: "prose" }, names.length > 1 && h("span", { class: "tag" }, names[field]),
    spaced(words(text), (word, index) => {
      const effect = effects[field][index];
      if (effect === null) return h("span", { class: "word", title: "the only word" }, word.text);
      const says = `${label} ${points(-effect)} points without it`;
      return h("span", { class: `word ${effect >= 0 ? "for" : "against"}`, tabindex: "0", title: says, "aria-label": `${word.text}: ${says}`,
        vars: { w: Math.abs(effect) / strongest } }, word.text);
    })));
}

const kept = (texts, indices, names) => texts.map((text, field) => h("p", { class: "prose" }, names.length > 1 && h("span", { class: "tag" }, names[field]),
  spaced(words(text), (word, index) => (indices[field].includes(index) ? h("b", {}, word.text) : h("s", {}, word.text)))));

const changed = (sample, names) => sample.map((list, field) => h("p", { class: "prose" }, names.length > 1 && h("span", { class: "tag" }, names[field]),
  spaced(list, (word) => word.gone ? h("del", {}, word.text) : word.added ? h("ins", {}, word.text)
    : word.was ? h("span", {}, h("del", {}, word.was), " ", h("ins", {}, word.text)) : word.text)));

/** Fill the panel for one answer; each part appears when it is found. */
export async function explain(place, { task, model, names, texts, label, scores, signal }) {
  const part = (title) => {
    const body = h("div", { class: "working" }, "…"), cost = h("span", { class: "muted" });
    return { body, cost, section: h("section", { class: "why-part" }, h("h3", {}, title, " ", cost), body) };
  };
  const parts = [part("Contribution of each word"), part("Fewest words that keep the prediction"), part("Smallest change that flips it")];
  place.replaceChildren(...parts.map((one) => one.section));
  const run = async ({ body, cost }, work) => {
    const stats = { passes: 0 }, began = performance.now();
    const content = await work(scorer(task, model, signal, stats));
    if (signal.aborted) return;
    body.classList.remove("working");
    body.replaceChildren(...[content].flat(Infinity).filter(Boolean));
    cost.textContent = `${stats.passes} passes, ${Math.round(performance.now() - began)} ms`;
  };
  try {
    let effects;
    await run(parts[0], async (ask) => {
      effects = await leaveOneOut(texts, label, scores[label], ask);
      return [shaded(names, texts, effects, label), h("p", { class: "legend muted" }, h("span", { class: "word for", vars: { w: 1 } }, "supports"), " ",
        h("span", { class: "word against", vars: { w: 1 } }, "opposes"), ` ${label}: how its score changes when the word is left out.`)];
    });
    await run(parts[1], async (ask) => {
      const found = await reduce(texts, label, ask);
      if (!found.scores) return h("p", { class: "muted" }, "No word can be removed: without any one of them, the prediction changes.");
      return [kept(texts, found.kept, names), h("p", { class: "muted" }, `Still ${label} with ${percent(found.scores[label])}. No further word can be removed.`)];
    });
    await run(parts[2], async (ask) => {
      const found = await flip(texts, label, effects, ask);
      if (!found) return h("p", { class: "muted" }, "No change of up to three words that was tried flips the prediction.");
      return [changed(found.sample, names), h("p", {}, "Now ", h("b", {}, found.label), ` with ${percent(found.scores[found.label])}, after ${found.size} ${found.size > 1 ? "changes" : "change"}.`)];
    });
  } catch (error) {
    if (!signal.aborted) place.append(h("p", { class: "error", role: "alert" }, error.message));
  }
}
