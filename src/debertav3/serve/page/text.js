// Pure functions over text: words, offsets, tables, links and code to copy. No DOM.

const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]/u;

/** Words of a text, each with the white space before it, so that `join` gives the text back. */
export function words(text) {
  const found = [];
  for (const match of text.matchAll(/(\s*)(\S+)/gu)) {
    const [, gap, chunk] = match;
    if (UNSPACED.test(chunk) && globalThis.Intl?.Segmenter) {
      let first = true;
      for (const { segment } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(chunk)) {
        found.push({ gap: first ? gap : "", text: segment });
        first = false;
      }
    } else found.push({ gap, text: chunk });
  }
  return found;
}

/** The text of words; white space before the first one is left out. */
export function join(list) {
  return list.map((word, index) => (index ? word.gap || "" : "") + word.text).join("");
}

/** A part of a text by the server's offsets, which count code points and not UTF-16 units. */
export function slicer(text) {
  const points = Array.from(text);
  return (start, end) => points.slice(start, end).join("");
}

/** The code point offset of a UTF-16 offset. */
export const codePoint = (text, unit) => Array.from(text.slice(0, unit)).length;

/** A text cut at spans that do not overlap: [{text, span|null}]; spans have start and end in code points. */
export function segments(text, spans) {
  const cut = slicer(text), parts = [], sorted = [...spans].sort((a, b) => a.start - b.start);
  let at = 0;
  for (const span of sorted) {
    if (span.start < at) continue;
    if (span.start > at) parts.push({ text: cut(at, span.start), span: null });
    parts.push({ text: cut(span.start, span.end), span });
    at = span.end;
  }
  const rest = cut(at);
  if (rest) parts.push({ text: rest, span: null });
  return parts;
}

export const percent = (value) => `${(100 * value).toFixed(2)} %`;
export const points = (value) => {
  const size = Math.abs(100 * value).toFixed(1);
  return Number(size) === 0 ? size : (value < 0 ? "−" : "+") + size;
};
export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
export const names = (text) => [...new Set(text.split(/[,\n]/).map((name) => name.trim()).filter(Boolean))];

/** The label with the highest score. */
export const best = (scores) => Object.keys(scores).reduce((a, b) => (scores[b] > scores[a] ? b : a));

// ---- links

/** The part of a link after `#`: text in it never reaches the server or its logs. */
export function toHash(state) {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (value !== "" && value != null && value !== false) found.set(key, value === true ? "1" : String(value));
  }
  return found.toString();
}

export const fromHash = (hash) => Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));

// ---- code to copy

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function python(value, indent = "") {
  const deeper = indent + "    ";
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((one) => python(one, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const items = Object.entries(value).map(([key, one]) => `${deeper}${JSON.stringify(key)}: ${python(one, deeper)},\n`);
    return `{\n${items.join("")}${indent}}`;
  }
  return JSON.stringify(value);
}

/** The request as code; `hasKey` adds a header with the API key from the environment. */
export function snippet(language, url, body, hasKey) {
  const json = JSON.stringify(body);
  if (language === "curl") {
    const key = hasKey ? ' -H "Authorization: Bearer $DEBERTAV3_KEY"' : "";
    return `curl -s ${shell(url)} -H 'content-type: application/json'${key} \\\n  -d ${shell(json)}\n`;
  }
  if (language === "python") {
    const key = hasKey ? ', headers={"Authorization": f"Bearer {os.environ[\'DEBERTAV3_KEY\']}"}' : "";
    return `${hasKey ? "import os\n\n" : ""}import requests\n\nbody = ${python(body)}\n` +
      `answer = requests.post(${JSON.stringify(url)}, json=body${key}, timeout=30)\n` +
      "answer.raise_for_status()\nprint(answer.json()[\"results\"])\n";
  }
  const key = hasKey ? ', authorization: "Bearer " + process.env.DEBERTAV3_KEY' : "";
  return `const answer = await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n` +
    `  headers: { "content-type": "application/json"${key} },\n  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll("\n", "\n  ")}),\n});\n` +
    "if (!answer.ok) throw new Error(await answer.text());\nconsole.log((await answer.json()).results);\n";
}
