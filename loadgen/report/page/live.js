// Requests to the server: the document, its changes, and load changes. Server-sent events are read with fetch, because
// EventSource cannot send an Authorization header. A lost connection is opened again; missed changes arrive first.

const KEPT = "loadgen token";
const SILENT_MS = 10_000; // a connection without a byte for this time counts as lost
const WAITS_MS = [250, 500, 1000, 2000, 5000];

/** The token in the URL's fragment. It is stored for this tab and removed from the URL. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (given) {
      sessionStorage.setItem(KEPT, given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return given ?? sessionStorage.getItem(KEPT);
  } catch {
    return given;
  }
}

/** An error response of the server. `status` is 0 if the server was not reached. */
export class Refused extends Error {
  constructor(message, status, hint = "") {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

export async function ask(path, { key, body, headers = {}, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "omit", redirect: "error", signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused("the server cannot be reached; check that it runs and that the URL is right", 0);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const plain = { 401: "missing or invalid token; open the URL that the server printed", 403: "this token does not allow that; use a token of another role", 404: "run not found; open / for the list of runs" };
  throw new Refused(said.error ?? plain[answer.status] ?? `the server responded with HTTP ${answer.status}; see its log`, answer.status, said.hint ?? "");
}

export async function fetch_json(path, key) {
  return (await ask(path, { key })).json();
}

/**
 * Follow a run until it has ended.
 *
 * told: {history(document), change(kind, change), link(state, text)}; state is "good", "bad", or "over". `is_over()`
 * returns true if the document needs no more changes. Returns a function that stops following.
 */
export function follow(run_path, key, seq, told, is_over) {
  const stop = new AbortController();
  let last = seq;
  let tries = 0;

  async function again() {
    const whole = await fetch_json(`${run_path}/history`, key);
    last = whole.seq;
    told.history(whole);
  }

  async function once() {
    const call = new AbortController();
    const end = () => call.abort();
    stop.signal.addEventListener("abort", end);
    let watch = setTimeout(end, SILENT_MS);
    try {
      const answer = await ask(`${run_path}/events`, { key, headers: { Accept: "text/event-stream", "Last-Event-ID": String(last) }, signal: call.signal });
      tries = 0;
      told.link("good", "live");
      const feed = events((event) => {
        if (event.kind === "again") return again();
        const change = JSON.parse(event.data);
        if (event.id) last = event.id; // of several changes that belong together, only the last one has an id
        told.change(event.kind, change);
        return null;
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        clearTimeout(watch);
        if (done) return;
        watch = setTimeout(end, SILENT_MS);
        await feed(value);
      }
    } finally {
      clearTimeout(watch);
      stop.signal.removeEventListener("abort", end);
      call.abort();
    }
  }

  (async () => {
    while (!stop.signal.aborted) {
      let why = "the connection was closed";
      try {
        await once();
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof Refused && [401, 403, 404].includes(error.status)) return void told.link("bad", error.message);
        why = error instanceof Refused ? error.message : "the server sent nothing";
      }
      if (is_over()) return void told.link("over", "the run has ended");
      const wait = WAITS_MS[Math.min(tries, WAITS_MS.length - 1)];
      tries += 1;
      told.link("bad", `not live: ${why}; trying again`);
      await new Promise((done) => setTimeout(done, wait));
    }
  })();
  return () => stop.abort();
}

/** Return a parser of server-sent events: it takes pieces of text and calls `on_event` with {id, kind, data}. */
export function events(on_event) {
  let rest = "";
  let now = { id: "", kind: "message", data: [] };
  return async (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        const event = { id: now.id, kind: now.kind, data: now.data.join("\n") };
        const is_event = now.data.length > 0 || now.kind === "again";
        now = { id: "", kind: "message", data: [] };
        if (is_event) await on_event(event);
        continue;
      }
      const at = line.indexOf(":");
      const [field, value] = at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1).replace(/^ /, "")];
      if (field === "event") now.kind = value;
      else if (field === "data") now.data.push(value);
      else if (field === "id") now.id = value;
    }
  };
}
