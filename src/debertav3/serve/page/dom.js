// Elements. Text only ever becomes text nodes: nothing here, or anywhere in the page, takes HTML.

/** An element: h("p", {class: "x", onclick}, "text", child, [children]). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value == null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "vars") for (const [name, one] of Object.entries(value)) element.style.setProperty(`--${name}`, one);
    else if (key in element && !["list", "form", "role"].includes(key) && typeof value !== "string") element[key] = value;
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one != null && one !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

let count = 0;
export const newId = () => `e${++count}`;

/** A labelled form control. */
export function labelled(text, control, extra) {
  control.id ||= newId();
  return h("div", { class: "field" }, h("div", { class: "field-head" }, h("label", { for: control.id }, text), extra), control);
}

/** Say something to screen readers, and show it for a moment. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove("shown"), 2500);
}

export function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // without HTTPS browsers keep the clipboard to themselves: the old way
    const area = h("textarea", { value: text, "aria-hidden": "true", class: "unseen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied`);
}

/** An action after a pause; `now` does it at once. */
export function debounce(action, milliseconds) {
  let timer;
  const later = () => { clearTimeout(timer); timer = setTimeout(action, milliseconds); };
  later.now = () => { clearTimeout(timer); action(); };
  later.cancel = () => clearTimeout(timer);
  return later;
}
