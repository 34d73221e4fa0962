// A file dropped on the page or chosen; what shows and scores it (rows.js) is loaded with the first one.

import { byId, h } from "./dom.js";
import { FileProblem, isWorkbook, parseTable } from "./tables.js";

const MOST_BYTES = 50_000_000;

function textIn(bytes) {
  try { return new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch {
    throw new FileProblem("it is not text in UTF-8. Save it as CSV in UTF-8.");
  }
}

export function setUpFiles(app) {
  const place = byId("file"), input = byId("file-input");
  let table = null;

  const open = async (file) => {
    table?.cancel();
    place.hidden = false;
    try {
      if (file.size > MOST_BYTES) throw new FileProblem(`it has ${Math.round(file.size / 1e6)} MB; up to ${MOST_BYTES / 1e6} MB are taken here. Use debertav3 predict.`);
      const bytes = new Uint8Array(await file.arrayBuffer());
      const found = isWorkbook(bytes) ? await (await import("./sheets.js")).readWorkbook(bytes) : parseTable(file.name, textIn(bytes));
      const { FileTable } = await import("./rows.js");
      table = new FileTable(app, place, file.name, found);
      table.show();
      place.scrollIntoView({ block: "nearest" });
    } catch (error) {
      table = null;
      const reason = error instanceof FileProblem ? error.message : `it cannot be read here (${error}). Use debertav3 predict.`;
      place.replaceChildren(h("p", { class: "error", role: "alert" }, `${file.name}: ${reason}`));
    }
  };

  byId("file-button").addEventListener("click", () => input.click());
  input.addEventListener("change", () => { if (input.files[0]) open(input.files[0]); input.value = ""; });
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => { if (carries(event)) { event.preventDefault(); document.body.classList.add("dropping"); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  return { taskChanged: () => table?.taskChanged(), settingsChanged: () => table?.settingsChanged() };
}
