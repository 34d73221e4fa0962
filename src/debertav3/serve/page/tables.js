// Reading and writing CSV and JSON lines. No DOM.

/** What is wrong with a file, for a person. */
export class FileProblem extends Error {}

/** Rows of cells; quotes as in RFC 4180. */
export function parseCells(text, delimiter) {
  const rows = [];
  let row = [], cell = "", quoted = false, at = 0, wasQuoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0] !== "" || wasQuoted) rows.push(row);
    row = []; cell = ""; wasQuoted = false;
  };
  while (at < text.length) {
    const one = text[at];
    if (quoted) {
      if (one === '"' && text[at + 1] === '"') { cell += '"'; at++; }
      else if (one === '"') quoted = false;
      else cell += one;
    } else if (one === '"' && cell === "") { quoted = true; wasQuoted = true; }
    else if (one === delimiter) { row.push(cell); cell = ""; }
    else if (one === "\n") endRow();
    else if (one === "\r" && text[at + 1] === "\n") { /* the line feed ends the row */ }
    else cell += one;
    at++;
  }
  if (quoted) throw new FileProblem("a quote is opened and never closed.");
  if (cell !== "" || row.length || wasQuoted) endRow();
  return rows;
}

function delimiterOf(text) {
  const first = text.slice(0, (text.indexOf("\n") + 1 || text.length + 1) - 1).replace(/"[^"]*"/g, "");
  const count = (one) => first.split(one).length;
  return [",", ";", "\t"].reduce((a, b) => (count(b) > count(a) ? b : a));
}

/** A table: {format, delimiter, columns, rows: [object]}; values of JSON keep their types, and numbers their digits. */
export function parseTable(name, content) {
  const text = content.replace(/^\uFEFF/, "");
  if (/^\s*[[{]/.test(text)) return parseJson(text);
  if (/\.(jsonl|ndjson|json)$/i.test(name)) throw new FileProblem("line 1 is not a JSON object.");
  const delimiter = /\.tsv$/i.test(name) ? "\t" : delimiterOf(text);
  const [columns, ...cells] = parseCells(text, delimiter);
  if (!columns || !cells.length) throw new FileProblem("it needs a line with the columns' names and at least one row.");
  if (new Set(columns).size < columns.length) throw new FileProblem("two columns have the same name.");
  const rows = cells.map((row, index) => {
    if (row.length !== columns.length) {
      throw new FileProblem(`row ${index + 1} has ${row.length} cells, the first line ${columns.length}.`);
    }
    return Object.fromEntries(row.map((cell, column) => [columns[column], cell]));
  });
  return { format: "csv", delimiter, columns, rows };
}

/** The first number that JavaScript would write in another way: a 64-bit id, 1.0, 1e3. */
const changedNumber = (text) => {
  for (const [one] of text.matchAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g)) if (one[0] !== '"' && String(Number(one)) !== one) return one;
};

/** JSON whose numbers are written again as they were read. */
function exactly(text) {
  if (JSON.rawJSON) return JSON.parse(text, (_, value, { source }) => (typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value));
  const value = JSON.parse(text), changed = changedNumber(text);
  if (changed) throw new FileProblem(`this browser cannot keep the number ${changed} as it is. Put it in quotes, or use a newer browser or debertav3 predict.`);
  return value;
}

function parsed(text, fault) {
  try { return exactly(text); } catch (error) { throw error instanceof FileProblem ? error : new FileProblem(fault); }
}

function parseJson(text) {
  let rows;
  if (/^\s*\[/.test(text)) {
    rows = parsed(text, "it is not valid JSON.");
  } else {
    rows = [];
    text.split("\n").forEach((line, index) => {
      if (line.trim()) rows.push(parsed(line, `line ${index + 1} is not valid JSON.`));
    });
  }
  const wrong = rows.findIndex((row) => row === null || typeof row !== "object" || Array.isArray(row) || JSON.isRawJSON?.(row));
  if (wrong >= 0) throw new FileProblem(`row ${wrong + 1} is not a JSON object.`);
  if (!rows.length) throw new FileProblem("it has no rows.");
  return { format: "jsonl", columns: [...new Set(rows.flatMap(Object.keys))], rows };
}

export const toJsonLines = (rows) => rows.map((row) => JSON.stringify(row) + "\n").join("");

const isFormula = (value) => typeof value === "string" && /^[=+@-]/.test(value) && Number.isNaN(Number(value));

/** `isForSheets`: a text that a spreadsheet would run as a formula gets a ' before it. */
export function toCsv(columns, rows, { delimiter = ",", isForSheets = false } = {}) {
  const cell = (value) => {
    const own = value == null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    const text = isForSheets && isFormula(value) ? `'${own}` : own;
    return /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const row = (cells) => cells.map(cell).join(delimiter) + "\r\n";
  return row(columns) + rows.map((one) => row(columns.map((column) => one[column]))).join("");
}

const shortened = (value) => { const text = JSON.stringify(value); return text.length > 40 ? `${text.slice(0, 40)} …` : text; };

/** The text of a cell; a number is its text. */
export function textOf(value) {
  if (typeof value === "string" || typeof value === "number") return String(value);
  if (JSON.isRawJSON?.(value)) return JSON.stringify(value);
  throw new FileProblem(`need a text, got ${shortened(value)}`);
}

/** The choices in a cell: a list of texts or of objects with one, {text: [...]}; or text, one a line or with | between. */
export function choicesIn(cell) {
  let list = cell;
  if (typeof cell === "string" && /^\s*[[{]/.test(cell)) try { list = JSON.parse(cell); } catch { /* it is text */ }
  if (typeof list === "string") list = list.split(/[\n|]/).map((one) => one.trim()).filter(Boolean);
  else if (Array.isArray(list)) list = list.map((one) => one?.text ?? one);
  else list = list.text;
  if (Array.isArray(list) && list.length > 1 && list.every((one) => typeof one === "string")) return list;
  throw new FileProblem(`need at least two choices in a list of texts, got ${shortened(cell)}`);
}

/** A column name that the table does not have yet. */
export function freeName(name, columns) {
  let found = name;
  for (let number = 2; columns.includes(found); number++) found = `${name}_${number}`;
  return found;
}

/** The column for a field: by its name or another usual one; otherwise by position among the unused. */
export function guessColumns(fields, columns) {
  const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const chosen = {};
  for (const { name, also = [] } of fields) {
    chosen[name] = columns.find((column) => [name, ...also].some((one) => plain(one) === plain(column))) ?? "";
  }
  const free = columns.filter((column) => !Object.values(chosen).includes(column));
  for (const { name, optional } of fields) if (!chosen[name] && !optional) chosen[name] = free.shift() ?? "";
  return chosen;
}

/** Whether bytes begin as a zip, or as an older or locked workbook, which is refused. */
export function isWorkbook(bytes) {
  if (bytes[0] === 0xd0 && bytes[1] === 0xcf && bytes[2] === 0x11) throw new FileProblem("it is an .xls workbook, or one with a password. Save it as .xlsx without a password.");
  return bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] < 6;
}
