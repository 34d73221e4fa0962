// The server. Addresses are relative, so that the page works below a path.

const base = new URL(".", document.baseURI);
const KEY = "debertav3-key";

export const server = { maxInputs: 1024, models: [] };
export const address = (route) => new URL(route, base).href;
export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const setKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

/** An answer that is not one; the message is for a person. */
export class ServerError extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

const sleep = (milliseconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

export async function loadInfo() {
  const answer = await fetch(address("info"));
  if (!answer.ok) throw new ServerError(answer.status, `the server responded with ${answer.status}`);
  const info = await answer.json();
  server.models = info.models;
  server.maxInputs = info.max_client_batch_size ?? 1024;
  return info;
}

/** Ask one of our own routes; a busy server is asked again when it says. */
export async function post(route, body, signal) {
  const headers = { "content-type": "application/json" };
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  for (let tries = 0; ; tries++) {
    let answer;
    try {
      answer = await fetch(address(route), { method: "POST", headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ServerError(0, "The server cannot be reached. Is it still running?");
    }
    if (answer.ok) return answer.json();
    if (answer.status === 429 && tries < 20) {
      await sleep(1000 * Number(answer.headers.get("retry-after") ?? 1), signal);
      continue;
    }
    if (answer.status === 401) throw new ServerError(401, "This server needs an API key: enter it at the top.");
    let message = `The server responded with ${answer.status}.`;
    try { // before it has read a body, a route that several dialects share puts the message into an object
      const { error } = await answer.json();
      message = error?.message ?? error ?? message;
    } catch { /* a body of another kind */ }
    throw new ServerError(answer.status, message);
  }
}

/** A function that scores many samples by label, for the searches; counts in `stats`. */
export function scorer(task, model, signal, stats) {
  const size = Math.min(256, server.maxInputs);
  return async (samples) => {
    const found = [];
    for (let at = 0; at < samples.length; at += size) {
      const part = samples.slice(at, at + size);
      const body = task === "nli" ? { pairs: part } : { texts: part.map((one) => (one.length > 1 ? one : one[0])) };
      const answer = await post(task, { model, ...body }, signal);
      stats.passes += part.length;
      found.push(...answer.results.map((one) => one.scores));
    }
    return found;
  };
}
