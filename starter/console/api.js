// Asks the API. The key is kept for this tab alone, and goes nowhere but into the header of requests to this server.

const STORED = "casaflow-key";
const AGAIN_SECONDS = [1, 2, 5, 10];

export const key = {
  get: () => sessionStorage.getItem(STORED),
  set: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
};

/** The API refused (RFC 9457), or didn't answer; `message` is for people. */
export class Problem extends Error {
  constructor(status, content) {
    const fields = (content.errors ?? []).map((each) => `${each.field} ${each.rule}`);
    super([content.detail || content.title || `the API answers ${status}`, ...fields.filter((text) => !content.detail?.includes(text))].join("; "));
    this.status = status;
    this.code = content.code ?? "";
  }

  /** Whether the same request again may go well. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** GET a path below the API's root, with a query of what is neither null nor empty. */
export function get(path, { query = {}, signal } = {}) {
  return asked("GET", path + queryOf(query), { signal });
}

/** POST a body; `wait` is for how many seconds the final answer is waited for. */
export function post(path, body, { wait = 0, idempotencyKey, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (wait) headers.Prefer = `wait=${wait}`;
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  return asked("POST", path, { body: body === undefined ? undefined : JSON.stringify(body), headers, signal });
}

/** The path of an id's resource. */
export function at(strings, ...ids) {
  return strings.reduce((path, part, place) => path + part + (place < ids.length ? encodeURIComponent(ids[place]) : ""), "");
}

function queryOf(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function asked(method, path, { body, headers = {}, signal }) {
  const answer = await sent(path, { method, body, headers, signal });
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

async function sent(path, { headers, signal, ...options }) {
  try {
    return await fetch(path, {
      ...options,
      signal,
      headers: { ...headers, Authorization: `Bearer ${key.get()}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { detail: "the API does not answer" });
  }
}

async function problemOf(answer) {
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("key-refused", { detail: problem.message }));
  return problem;
}

/**
 * Watch events until the signal is aborted, across interruptions: read by fetch, since an EventSource can't send a key.
 *
 * @param {object} query what to watch: `account_id`, `transaction_id`, or neither.
 * @param {(event: object) => void} onEvent gets each CloudEvent.
 * @param {(state: string) => void} onState gets "live", or why it isn't.
 */
export async function watch(query, { signal, onEvent, onState }) {
  let last = null;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
      const answer = await sent(`v1/events${queryOf(query)}`, { headers, signal });
      if (!answer.ok) throw await problemOf(answer);
      onState("live");
      for await (const entry of entries(answer.body)) {
        failures = 0;
        if (entry.id !== null) last = entry.id;
        if (entry.data && !entry.event.startsWith("casaflow.stream.")) onEvent(JSON.parse(entry.data));
      }
      onState("interrupted; it goes on in a moment");
    } catch (error) {
      if (signal.aborted) return;
      onState(error instanceof Problem ? error.message : "interrupted; it goes on in a moment");
      if (error.status === 400) last = null; // the topics have other partitions now
      if (error.status === 401 || error.status === 403 || error.status === 404) return;
    }
    await pause(AGAIN_SECONDS[Math.min(failures, AGAIN_SECONDS.length - 1)], signal);
  }
}

/** The entries of a stream of server-sent events; see the HTML standard, section 9.2.6. */
async function* entries(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let entry = { id: null, event: "", data: "" };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        yield entry;
        entry = { id: null, event: "", data: "" };
        continue;
      }
      const [, name, text] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
      if (name === "id" || name === "event") entry[name] = text ?? "";
      if (name === "data") entry.data += (entry.data && "\n") + (text ?? "");
    }
  }
}

/** Wait, or stop waiting because the view was left. */
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

/** Do `work` now and every few seconds until the view is left; while the page is hidden it rests. */
export async function repeatedly(everySeconds, signal, work) {
  while (!signal.aborted) {
    if (!document.hidden) await work();
    await pause(everySeconds, signal);
  }
}

/** A random id for a transaction; also where the page comes by plain http, which has no crypto.randomUUID. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
