// Why an answer is what it is: leave-one-out, input reduction and flip search over batches of variants. No DOM.
//
// `ask(samples)` gives the scores by label of each sample, a list of texts. After Feng et al. 2018
// (arXiv:1804.07781) and AllenNLP Interpret.

import { best, join, words } from "./text.js";

const MOST_UNITS = 300;
const BEAM = 4, DEPTH = 3, WORDS_FIRST = 40, WORDS_LATER = 10;

const texts = (sample) => sample.map(join);
const cut = (sample, field, from, to) =>
  sample.map((list, index) => (index === field ? [...list.slice(0, from), ...list.slice(to)] : list));

/** How the score of a label falls without each word: [[number|null]]; null where a text has one word only. */
export async function leaveOneOut(sample, label, base, ask) {
  const split = sample.map(words);
  const size = Math.ceil(split.flat().length / MOST_UNITS);
  const units = split.flatMap((list, field) =>
    list.length < 2 ? [] : Array.from({ length: Math.ceil(list.length / size) }, (_, unit) => ({
      field, from: unit * size, to: Math.min(list.length, (unit + 1) * size),
    })).filter(({ from, to }) => to - from < list.length));
  const scores = units.length ? await ask(units.map(({ field, from, to }) => texts(cut(split, field, from, to)))) : [];
  const effects = split.map((list) => list.map(() => null));
  units.forEach(({ field, from, to }, index) => effects[field].fill(base - scores[index][label], from, to));
  return effects;
}

/** Leave words out while the answer stays: {kept: [[index]], scores}; no single further word can go. */
export async function reduce(sample, label, ask) {
  let kept = sample.map((text) => words(text).map((word, index) => ({ ...word, index })));
  let scores = null;
  for (;;) {
    const options = kept.flatMap((list, field) => (list.length < 2 ? [] : list.map((word) => ({ field, word }))));
    if (!options.length) break;
    const without = (gone) => kept.map((list, field) =>
      list.filter((word) => !gone.some((one) => one.field === field && one.word === word)));
    const found = await ask(options.map((option) => texts(without([option]))));
    const good = options.map((option, index) => ({ option, scores: found[index] }))
      .filter((one) => best(one.scores) === label)
      .sort((a, b) => b.scores[label] - a.scores[label]);
    if (!good.length) break;
    let next = { gone: [good[0].option], scores: good[0].scores };
    const sizes = [];
    for (let size = good.length; size > 1 && good.length > 6; size = Math.floor(size / 2)) sizes.push(size);
    const bundles = sizes.map((size) => good.slice(0, size).map((one) => one.option))
      .filter((gone) => without(gone).every((list) => list.length));
    if (bundles.length) {
      const together = await ask(bundles.map((gone) => texts(without(gone))));
      const index = together.findIndex((one) => best(one) === label);
      if (index >= 0) next = { gone: bundles[index], scores: together[index] };
    }
    kept = without(next.gone);
    scores = next.scores;
  }
  return { kept: kept.map((list) => list.map((word) => word.index)), scores };
}

const GENERAL = ["not", "no", "never", "nobody", "nothing", "all", "some", "only", "one", "two", "many", "something", "somebody"];
const OPPOSITES = [
  "man woman", "men women", "boy girl", "boys girls", "he she", "his her", "day night", "good bad", "great terrible",
  "love hate", "happy sad", "inside outside", "indoors outdoors", "up down", "old young", "big small", "open closed",
  "hot cold", "asleep awake", "sleeping running", "sitting standing", "walking sitting", "always never", "all none",
  "every no", "everybody nobody", "everyone nobody", "nobody somebody", "is isn't", "are aren't", "was wasn't",
  "can cannot", "before after", "more less", "most few", "with without", "black white", "dog cat", "first last",
  "win lose", "won lost", "rise fall", "rose fell", "best worst", "early late", "many few", "some no", "a no", "the no",
];
const opposites = new Map();
for (const pair of OPPOSITES) {
  const [one, other] = pair.split(" ");
  opposites.set(one, [...(opposites.get(one) ?? []), other]);
  if (!["a", "the", "every", "some"].includes(one)) opposites.set(other, [...(opposites.get(other) ?? []), one]);
}

/** A word in the dress of another: its punctuation and its capital. */
export function dressed(word, like) {
  const [, before, core, after] = /^([^\p{L}\p{N}]*)(.*?)([^\p{L}\p{N}]*)$/su.exec(like);
  const capital = /^\p{Lu}/u.test(core);
  return before + (capital ? word[0].toUpperCase() + word.slice(1) : word) + after;
}

const bare = (word) => word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");

/** Every change of one word: [{sample, edit}]; `order` lists [field, index] by importance. */
function changes(sample, order) {
  const found = [];
  const others = (field) => sample.flatMap((list, index) => (index === field ? [] : list.map((word) => bare(word.text))));
  for (const [field, index] of order) {
    const list = sample[field], word = list[index];
    if (!word || word.changed) continue;
    const put = (...now) => sample.map((one, at) => (at === field ? [...one.slice(0, index), ...now, ...one.slice(index + 1)] : one));
    if (list.filter((one) => !one.gone).length > 1) found.push(put({ ...word, gone: true, changed: true }));
    const near = [...(opposites.get(bare(word.text)) ?? []), ...others(field).slice(0, 6), ...GENERAL];
    for (const other of new Set(near)) {
      if (other && other !== bare(word.text)) {
        found.push(put({ ...word, was: word.text, text: dressed(other, word.text), changed: true }));
      }
    }
    found.push(put({ gap: word.gap, text: "not", added: true, changed: true }, { ...word, gap: word.gap || " " }));
  }
  return found;
}

const shown = (sample) => sample.map((list) => join(list.filter((word) => !word.gone)));

/** The smallest change found that turns the answer: {sample, label, scores, size} or null.
 *
 * Words of `sample` are marked `gone`, `added`, or with what they `was`. Tries every change of one word, then
 * two and three from the most promising; among changes of one size the surest new answer wins.
 */
export async function flip(sample, label, effects, ask) {
  const order = effects.flatMap((list, field) => list.map((effect, index) => [field, index, effect ?? 0]))
    .sort((a, b) => b[2] - a[2]);
  let beam = [sample.map(words)];
  for (let size = 1; size <= DEPTH; size++) {
    const seen = new Set(), tried = [];
    for (const start of beam) {
      // Insertions move indices: look words up by what they were at first.
      const now = start.map((list) => list.map((_, index) => index).filter((index) => !list[index].added));
      const spots = order.slice(0, size === 1 ? WORDS_FIRST : WORDS_LATER).map(([field, index]) => [field, now[field][index]]);
      for (const one of changes(start, spots)) {
        const key = JSON.stringify(shown(one));
        if (!seen.has(key)) { seen.add(key); tried.push(one); }
      }
    }
    if (!tried.length) return null;
    const scores = await ask(tried.map(shown));
    const found = tried.map((one, index) => ({ sample: one, scores: scores[index], label: best(scores[index]), size }));
    const turned = found.filter((one) => one.label !== label).sort((a, b) => b.scores[b.label] - a.scores[a.label]);
    if (turned.length) return turned[0];
    beam = found.sort((a, b) => a.scores[label] - b.scores[label]).slice(0, BEAM).map((one) => one.sample);
  }
  return null;
}
