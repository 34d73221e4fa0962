// The page: tabs by what the loaded heads answer, one or two panes, links, keys and looks.

import { loadInfo, server, setKey } from "./api.js";
import { showCount } from "./corrections.js";
import { byId, debounce, h } from "./dom.js";
import { setUpFiles } from "./files.js";
import { Pane } from "./pane.js";
import { TASKS } from "./tasks.js";
import { fromHash, percent, points, toHash } from "./text.js";

const ORDER = ["nli", "zero-shot", "rerank", "classify", "ner", "qa", "choice", "fill-mask", "rtd"];

const app = {
  task: "nli", why: false, compare: "one", tasks: [], kept: {},
  panes: [],
  get shown() { return this.compare === "one" ? [this.panes[0]] : this.panes; },

  later() { for (const pane of this.shown) pane.later(); },
  now() { for (const pane of this.shown) pane.later.now(); },
  changed() { remember(); app.files?.settingsChanged(); },
  link() { remember.now(); return location.href; },
  answered(pane) { announce(); difference(); },
  needKey() { byId("key-field").hidden = false; byId("key").focus(); },
  values(index = 0) { return this.panes[index].values; },
};

function hashOf() {
  const state = { task: app.task, compare: app.compare === "one" ? "" : app.compare, why: app.why };
  const defaults = Object.fromEntries(TASKS[app.task].fields.map((field) => [field.name, field.value ?? ""]));
  const [first, second] = app.panes;
  const add = (values, before) => { for (const [name, value] of Object.entries(values)) if (value !== defaults[name]) state[before + name] = value || " "; };
  add(first.values, "");
  if (app.compare === "inputs") add(second.values, "b.");
  if (server.models.length > 1) { state.model = first.model; if (app.compare !== "one") state["b.model"] = second.model; }
  return toHash(state);
}

const remember = debounce(() => history.replaceState(null, "", `#${hashOf()}`), 300);

const announce = debounce(() => {
  byId("live").textContent = app.shown.map((pane) => pane.shown?.says).filter(Boolean).join(" — ");
}, 800);

function difference() {
  const place = byId("difference"), [one, other] = app.panes.map((pane) => pane.shown?.scores);
  place.hidden = app.compare === "one" || !one || !other;
  if (place.hidden) return;
  const shared = Object.keys(one).filter((label) => label in other);
  if (!shared.length) { place.hidden = true; return; }
  const most = shared.reduce((a, b) => (Math.abs(other[b] - one[b]) > Math.abs(other[a] - one[a]) ? b : a));
  const [a, b] = app.panes.map((pane) => pane.shown.label);
  place.replaceChildren(h("b", {}, a === b ? `Same answer: ${a}. ` : `Different answers: ${a} and ${b}. `),
    Math.abs(other[most] - one[most]) < 5e-5 ? "The scores are the same." : `${most}: ${percent(one[most])} and ${percent(other[most])}, ${points(other[most] - one[most])} points.`);
}

/** Lay out the panes for the mode; what is typed stays. */
function arrange() {
  const place = byId("panes"), [first, second] = app.panes;
  place.dataset.mode = app.compare;
  for (const pane of app.panes) pane.stop();
  place.replaceChildren(...(app.compare === "one" ? [first.form, first.output]
    : app.compare === "models" ? [first.form, first.output, second.output] : [first.form, first.output, second.form, second.output]));
  for (const button of document.querySelectorAll("#compare button")) {
    button.setAttribute("aria-pressed", String(button.value === app.compare));
  }
  const answering = server.models.filter((one) => one.tasks.includes(app.task));
  const models = document.querySelector('#compare button[value="models"]');
  models.disabled = answering.length < 2;
  models.title = models.disabled ? "Start the server with two models: --model a=FOLDER --model b=FOLDER" : "";
  byId("why").hidden = !TASKS[app.task].canExplain;
  difference();
}

function setCompare(mode) {
  app.compare = mode;
  const [first, second] = app.panes;
  if (mode === "models") {
    second.start(first.values);
    const other = second.models.find((one) => one.name !== first.model);
    if (second.model === first.model && other) { second.model = other.name; second.pick(); }
  } else if (mode === "inputs") second.start({ ...first.values });
  arrange();
  app.changed();
  app.now();
}

function setTask(task, values) {
  const [first, second] = app.panes;
  if (Object.keys(first.values).length) app.kept[app.task] = first.values;
  app.task = task;
  for (const tab of byId("tabs").children) {
    const chosen = tab.dataset.task === task;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  byId("panel").setAttribute("aria-labelledby", `tab-${task}`);
  byId("task-title").textContent = TASKS[task].title;
  first.start(values ?? app.kept[task] ?? { ...TASKS[task].examples[0] });
  if (app.compare === "models" && first.models.length < 2) app.compare = "one";
  if (app.compare === "inputs") second.start({ ...first.values });
  if (app.compare === "models") setCompare("models");
  arrange();
  app.files?.taskChanged();
  app.changed();
  app.now();
}

/** Another tab; that of the task in view changes nothing, and so stops nothing. */
function chooseTask(task) { if (task !== app.task) setTask(task); }

function setWhy(on) {
  app.why = on;
  byId("why").setAttribute("aria-pressed", String(on));
  for (const pane of app.shown) pane.explain();
  app.changed();
}

function setUpTabs() {
  const tabs = byId("tabs");
  tabs.replaceChildren(...app.tasks.map((task) => h("button", { type: "button", role: "tab", id: `tab-${task}`, "data-task": task, "aria-controls": "panel",
    onclick: () => chooseTask(task) }, TASKS[task].short)));
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = app.tasks.indexOf(app.task);
    const next = step ? (at + step + app.tasks.length) % app.tasks.length : { Home: 0, End: app.tasks.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    chooseTask(app.tasks[next]);
    tabs.children[next].focus();
  });
}

function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) app.now();
    else if (event.altKey && event.code === "KeyX") app.panes[0].swap();
    else if (event.altKey && event.code === "KeyW" && !byId("why").hidden) setWhy(!app.why);
    else if (event.altKey && /^Digit[1-9]$/.test(event.code) && app.tasks[event.code.at(-1) - 1]) chooseTask(app.tasks[event.code.at(-1) - 1]);
    else return;
    event.preventDefault();
  });
}

function setUpLook() {
  const select = byId("look");
  const show = (look) => { document.documentElement.dataset.look = look; select.value = look; };
  show(localStorage.getItem("debertav3-look") ?? "auto");
  select.addEventListener("change", () => { show(select.value); localStorage.setItem("debertav3-look", select.value); });
}

function fromLink() {
  const { task, compare = "one", why, model, "b.model": otherModel, ...rest } = fromHash(location.hash);
  if (!app.tasks.includes(task)) return setTask(app.tasks[0]);
  const values = {}, others = {};
  for (const { name, value = "" } of TASKS[task].fields) {
    values[name] = (rest[name] ?? value).replace(/^ $/, "");
    others[name] = (rest[`b.${name}`] ?? value).replace(/^ $/, "");
  }
  const [first, second] = app.panes;
  first.model = model ?? null;
  second.model = otherModel ?? null;
  app.why = Boolean(why);
  byId("why").setAttribute("aria-pressed", String(app.why));
  app.compare = "one";
  setTask(task, TASKS[task].fields.some(({ name }) => name in rest) ? values : undefined);
  if (compare === "inputs" || (compare === "models" && first.models.length > 1)) {
    setCompare(compare);
    if (compare === "inputs" && Object.keys(rest).some((name) => name.startsWith("b."))) { second.start(others); app.now(); }
  }
}

async function start() {
  setUpLook();
  showCount();
  try { await loadInfo(); } catch (error) {
    byId("panes").replaceChildren(h("p", { class: "error", role: "alert" }, `Cannot load information from this server: ${error.message}.`));
    return;
  }
  app.tasks = ORDER.filter((task) => server.models.some((one) => one.tasks.includes(task)));
  const kinds = server.models.map((one) => `${one.dtype}, ${one.backend}`), isOne = new Set(kinds).size === 1;
  byId("models").textContent = server.models.map((one, index) => (isOne ? one.name : `${one.name} (${kinds[index]})`)).join(" · ") + (isOne ? ` (${kinds[0]})` : "");
  if (!app.tasks.length) {
    byId("panes").replaceChildren(h("p", { class: "error" }, "None of the loaded models has a head that this page supports."));
    return;
  }
  app.panes = [new Pane(app, "A"), new Pane(app, "B")];
  setUpTabs();
  setUpKeys();
  app.files = setUpFiles(app);
  byId("why").addEventListener("click", () => setWhy(!app.why));
  for (const button of document.querySelectorAll("#compare button")) button.addEventListener("click", () => { if (button.value !== app.compare) setCompare(button.value); });
  byId("key").addEventListener("change", (event) => { setKey(event.target.value.trim()); app.now(); });
  byId("key-field").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("panel").focus(); });
  addEventListener("hashchange", () => { if (fromHash(location.hash).task) fromLink(); }); // another hash is no link to a task
  fromLink();
}

start();
