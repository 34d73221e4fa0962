// The first sheet of an Excel workbook (.xlsx): a zip of XML, which browsers read by themselves.

import { FileProblem } from "./tables.js";

const MOST_BYTES = 300_000_000; // of one part, unpacked
const utf8 = new TextDecoder();
const BROKEN = "it is not a workbook that can be read. Save it as .xlsx again.";

async function unpacked(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(), parts = [];
  let size = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    size += read.value.length;
    if (size > MOST_BYTES) { await reader.cancel(); throw new FileProblem("it is too large to be read here. Use debertav3 predict."); }
    parts.push(read.value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The parts of a zip by name, unpacked when asked for. */
function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), found = new Map();
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new FileProblem(BROKEN);
  for (let at = view.getUint32(end + 16, true), left = view.getUint16(end + 10, true); left; left--) {
    const [name, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const part = { packed: view.getUint16(at + 10, true), size: view.getUint32(at + 20, true), local: view.getUint32(at + 42, true) };
    found.set(utf8.decode(bytes.subarray(at + 46, at + 46 + name)), part);
    at += 46 + name + extra + comment;
  }
  return async (name) => {
    const part = found.get(name);
    if (!part) return null;
    const start = part.local + 30 + view.getUint16(part.local + 26, true) + view.getUint16(part.local + 28, true);
    const own = bytes.subarray(start, start + part.size);
    const text = utf8.decode(part.packed ? await unpacked(own) : own);
    const xml = new DOMParser().parseFromString(text, "application/xml");
    if (xml.getElementsByTagName("parsererror").length) throw new FileProblem(BROKEN);
    return xml;
  };
}

const all = (node, name) => (node ? [...node.getElementsByTagNameNS("*", name)] : []);
const textOf = (node) => all(node, "t").filter((one) => one.parentNode.localName !== "rPh").map((one) => one.textContent).join("");
const column = (reference) => [...reference.replace(/\d/g, "")].reduce((sum, letter) => 26 * sum + letter.charCodeAt(0) - 64, 0) - 1;

/** Which styles are dates: their numbers count days. */
function dateStyles(styles) {
  const own = new Map(all(styles, "numFmt").map((one) => [one.getAttribute("numFmtId"), one.getAttribute("formatCode")]));
  const isDate = (id) => (id >= 14 && id <= 22) || /[dmyh]/i.test((own.get(id) ?? "").replace(/"[^"]*"|\[[^\]]*\]|\\./g, ""));
  return all(all(styles, "cellXfs")[0], "xf").map((one) => isDate(one.getAttribute("numFmtId")));
}

/** The date of a number of days, up to the year 9999 as in Excel; another number is no date. */
function dated(days, from1904) {
  const seconds = Math.round((days + (from1904 ? 1462 : 0)) * 86400);
  if (!(seconds >= 0 && seconds < 2958466 * 86400)) return String(days);
  const iso = new Date((seconds - 25569 * 86400) * 1000).toISOString();
  return days % 1 ? iso.slice(0, 19).replace("T", " ") : iso.slice(0, 10);
}

/** The first sheet as a table: see `parseTable`. */
export async function readWorkbook(bytes) {
  let part, sheet, shared, styles, book;
  try {
    part = unzip(bytes);
    book = await part("xl/workbook.xml");
    const id = [...all(book, "sheet")[0].attributes].find((one) => one.localName === "id").value;
    const links = all(await part("xl/_rels/workbook.xml.rels"), "Relationship");
    const target = links.find((one) => one.getAttribute("Id") === id).getAttribute("Target");
    sheet = await part(target.startsWith("/") ? target.slice(1) : `xl/${target}`);
    shared = all(await part("xl/sharedStrings.xml"), "si").map(textOf);
    styles = dateStyles(await part("xl/styles.xml"));
  } catch (error) {
    throw error instanceof FileProblem ? error : new FileProblem(BROKEN);
  }
  const from1904 = /^(1|true)$/.test(all(book, "workbookPr")[0]?.getAttribute("date1904"));
  const value = (cell) => {
    const type = cell.getAttribute("t"), raw = all(cell, "v")[0]?.textContent ?? "";
    if (type === "inlineStr") return textOf(cell);
    if (type === "s") return shared[raw] ?? "";
    if (type === "b") return raw === "1" ? "TRUE" : "FALSE";
    if (["str", "e", "d"].includes(type) || raw.trim() === "" || Number.isNaN(Number(raw))) return raw;
    return styles[cell.getAttribute("s")] ? dated(Number(raw), from1904) : String(Number(raw));
  };
  const rows = all(sheet, "row").map((row, index) => {
    const cells = [];
    for (const cell of all(row, "c")) cells[cell.getAttribute("r") ? column(cell.getAttribute("r")) : cells.length] = value(cell);
    return { number: row.getAttribute("r") ?? index + 1, cells: Array.from(cells, (one) => one ?? "") };
  }).filter(({ cells }) => cells.some((one) => one.trim()));
  const [head, ...rest] = rows;
  if (!head || !rest.length) throw new FileProblem("its first sheet needs a row with the columns' names and at least one more.");
  const columns = head.cells, named = columns.filter((one) => one.trim());
  if (new Set(named).size < named.length) throw new FileProblem("two columns have the same name.");
  return { format: "xlsx", columns: named, rows: rest.map(({ number, cells }) => {
    const lost = cells.findIndex((one, at) => one.trim() && !columns[at]?.trim());
    if (lost >= 0) throw new FileProblem(`row ${number} has ${JSON.stringify(cells[lost].slice(0, 30))} in a column without a name.`);
    return Object.fromEntries(columns.flatMap((name, at) => (name.trim() ? [[name, cells[at] ?? ""]] : [])));
  }) };
}
