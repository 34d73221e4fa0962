// node --test tests/browser/functions.test.mjs: the page's functions that touch no document.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const page = new URL("../../src/debertav3/serve/page/", import.meta.url);
const text = await import(new URL("text.js", page));
const tables = await import(new URL("tables.js", page));
const search = await import(new URL("search.js", page));

const GOOD = (samples) => samples.map(([one]) => {
  const pos = /good/i.test(one) && !/\bnot\b/i.test(one) ? 0.9 : 0.2;
  return { pos, neg: 1 - pos };
});
const ask = async (samples) => GOOD(samples);

test("words give their text back", () => {
  for (const one of ["one two", "a  b\n c.", "今日は雨です。", "say “no” — now"]) assert.equal(text.join(text.words(one)), one);
  assert.equal(text.words("今日は雨です").length > 1, true);
  assert.deepEqual(text.words("   "), []);
});

test("offsets of the server count code points", () => {
  const cut = text.segments("😀 in Rome, 😀", [{ start: 5, end: 9 }]);
  assert.deepEqual(cut.map((part) => part.text), ["😀 in ", "Rome", ", 😀"]);
  assert.equal(text.codePoint("😀 in Rome", "😀 in Rome".indexOf("Rome")), 5);
});

test("overlapping spans lose no text", () => {
  const cut = text.segments("abcdef", [{ start: 2, end: 5 }, { start: 1, end: 3 }]);
  assert.equal(cut.map((part) => part.text).join(""), "abcdef");
});

test("differences have a sign unless they are nothing", () => {
  assert.deepEqual([0.123, -0.05, -0.0001, 0].map(text.points), ["+12.3", "−5.0", "0.0", "0.0"]);
});

test("links keep everything", () => {
  const state = { task: "nli", premise: "a & b = c # d\n😀", hypothesis: "100 %", why: "1" };
  assert.deepEqual(text.fromHash(`#${text.toHash(state)}`), state);
});

test("code to copy sends the same body", () => {
  const body = { texts: ["it's \"5 €\" \\ 😀\n"], multi_label: false, template: "{}." };
  const shell = text.snippet("curl", "URL", body, false).replace("curl -s 'URL'", "printf '%s|'");
  const [, , , sent] = execFileSync("sh", ["-c", shell], { encoding: "utf8" }).split("|");
  assert.deepEqual(JSON.parse(sent), body);
  const python = text.snippet("python", "URL", body, false);
  assert.match(python, /"multi_label": False/);
  assert.match(text.snippet("javascript", "URL", body, true), /DEBERTAV3_KEY/);
});

test("tables: quotes, delimiters, empty cells, round trip", () => {
  const table = tables.parseTable("a.csv", '\uFEFFtext;label\r\n"a; ""b""\nc";x\r\n;y\r\n');
  assert.deepEqual(table.rows, [{ text: 'a; "b"\nc', label: "x" }, { text: "", label: "y" }]);
  const again = tables.parseTable("a.csv", tables.toCsv(table.columns, table.rows, { delimiter: ";" }));
  assert.deepEqual(again.rows, table.rows);
  assert.deepEqual(tables.parseTable("a.jsonl", '{"a": 1}\n\n{"b": [2]}\n').columns, ["a", "b"]);
});

test("tables with faults are refused, with the row", () => {
  assert.throws(() => tables.parseTable("a.csv", "a,b\n1,2\n1,2,3\n"), /row 2 has 3 cells/);
  assert.throws(() => tables.parseTable("a.csv", 'a,b\n"1,2\n'), /never closed/);
  assert.throws(() => tables.parseTable("a.csv", "a,a\n1,2\n"), /same name/);
  assert.throws(() => tables.parseTable("a.jsonl", '{"a": 1}\n{"a": \n'), /line 2/);
  assert.throws(() => tables.parseTable("a.jsonl", "hello\n"), /line 1/);
  for (const one of ["[1]", "[7.5, 1.0]"]) assert.throws(() => tables.parseTable("a.json", one), /row 1 is not|cannot keep/);
});

test("numbers come back with their digits, or are refused", () => {
  const line = '{"id":1234567890123456789,"n":[1.0,-0,1e3,7],"text":"1.0 \\" 2.0"}\n';
  const plain = '{"n":[7,0.5,-3],"text":"1.0 \\" 2.0"}\n';
  assert.equal(tables.toJsonLines(tables.parseTable("a.jsonl", plain).rows), plain);
  if (!JSON.rawJSON) return assert.throws(() => tables.parseTable("a.jsonl", line), /cannot keep the number 1234567890123456789/);
  const { rows, columns } = tables.parseTable("a.jsonl", line);
  assert.equal(tables.toJsonLines(rows), line);
  assert.match(tables.toCsv(columns, rows), /^id,n,text\r\n1234567890123456789,"\[1.0,-0,1e3,7\]",/);
  assert.equal(tables.textOf(rows[0].id), "1234567890123456789");
});

test("choices are read in the forms of debertav3 predict, and others refused", () => {
  for (const cell of [["a", "b"], "a|b", " a\nb ", '["a", "b"]', { text: ["a", "b"], label: ["A", "B"] }, [{ text: "a", label: "A" }, { text: "b", label: "B" }]]) {
    assert.deepEqual(tables.choicesIn(cell), ["a", "b"]);
  }
  for (const cell of ["a", "", ["a"], [1, 2], 5, {}, { text: "a" }, { A: "a", B: "b" }, [{ name: "a" }, { name: "b" }], ["a", null]]) {
    assert.throws(() => tables.choicesIn(cell), /need at least two choices/);
  }
  assert.deepEqual([tables.textOf("a"), tables.textOf(1.5), tables.textOf("[1]")], ["a", "1.5", "[1]"]);
  for (const cell of [["a"], { text: "a" }, true]) assert.throws(() => tables.textOf(cell), /need a text/);
});

test("no text of a workbook becomes a formula", () => {
  const rows = [{ a: "=1+1", b: "-5", c: "@x" }, { a: "+x", b: "-x", c: -1.5 }, { a: "x=1", b: "+1e3", c: "" }];
  assert.equal(tables.toCsv(["a", "b", "c"], rows, { isForSheets: true }), "a,b,c\r\n'=1+1,-5,'@x\r\n'+x,'-x,-1.5\r\nx=1,+1e3,\r\n");
  assert.match(tables.toCsv(["a", "b", "c"], rows), /^a,b,c\r\n=1\+1,-5,@x/);
});

test("columns are found by name, then in order, and never written over", () => {
  const fields = [{ name: "premise", also: ["sentence1"] }, { name: "hypothesis", also: ["sentence2"] }];
  assert.deepEqual(tables.guessColumns(fields, ["id", "Sentence2", "Sentence_1"]), { premise: "Sentence_1", hypothesis: "Sentence2" });
  assert.deepEqual(tables.guessColumns(fields, ["a", "b"]), { premise: "a", hypothesis: "b" });
  assert.equal(tables.freeName("score", ["score", "score_2"]), "score_3");
});

test("leave one out finds the word that decides", async () => {
  const [effects] = await search.leaveOneOut(["A good film."], "pos", 0.9, ask);
  assert.deepEqual(effects.map((one) => Math.round(100 * one) / 100), [0, 0.7, 0]);
  assert.deepEqual(await search.leaveOneOut(["good"], "pos", 0.9, ask), [[null]]);
  const [many] = await search.leaveOneOut([`good ${"word ".repeat(999)}`], "pos", 0.9, ask);
  assert.equal(many.length, 1000);
  assert.ok(many[0] > 0.6 && many[999] === 0);
});

test("reduction keeps the answer and one word of each text", async () => {
  const found = await search.reduce(["It was a really good film, I must say so here.", "one two"], "pos", ask);
  assert.deepEqual(found.kept[0], [4]);
  assert.equal(found.kept[1].length, 1);
  assert.equal(text.best(found.scores), "pos");
  assert.equal((await search.reduce(["good"], "pos", ask)).scores, null);
});

test("flip search finds one change before two", async () => {
  const effects = await search.leaveOneOut(["A good film."], "pos", 0.9, ask);
  const found = await search.flip(["A good film."], "pos", effects, ask);
  assert.equal(found.size, 1);
  assert.equal(found.label, "neg");
  const twice = ["good and good"];
  const both = await search.flip(twice, "pos", [[0.1, 0, 0.1]], async (samples) => samples.map(([one]) => {
    const pos = 0.3 + 0.3 * (one.match(/good/g) ?? []).length;
    return { pos, neg: 1 - pos };
  }));
  assert.equal(both.size, 2);
  const never = await search.flip(["a b"], "pos", [[0, 0]], async (samples) => samples.map(() => ({ pos: 1, neg: 0 })));
  assert.equal(never, null);
});

test("a new word wears the old one's capital and comma", () => {
  assert.equal(search.dressed("somebody", "“Nobody,"), "“Somebody,");
  assert.equal(search.dressed("not", "--"), "--not");
});

test("an error is a text, whichever dialect wrote it", async () => {
  globalThis.document = { baseURI: "http://server/nlp/" };
  globalThis.sessionStorage = { getItem: () => null };
  const { post } = await import(new URL("api.js", page));
  const said = "the body has more than 2000000 bytes.";
  for (const body of [{ error: said }, { error: { message: said, type: "BadRequestError" }, message: said }]) {
    globalThis.fetch = async (url) => {
      assert.equal(url, "http://server/nlp/rerank");
      return { ok: false, status: 413, headers: new Headers(), json: async () => body };
    };
    await assert.rejects(post("rerank", {}), { message: said, status: 413 });
  }
  globalThis.fetch = async () => ({ ok: false, status: 502, headers: new Headers(), json: async () => { throw new Error("HTML"); } });
  await assert.rejects(post("rerank", {}), { message: /502/ });
});
