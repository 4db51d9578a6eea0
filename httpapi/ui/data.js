// What the page knows of the cluster and how it keeps up: an event stream that
// says when to read again, polling for what no event announces (usage, progress),
// and polling alone while the stream is broken.

const SILENCE = 12000; // heartbeats come every 5 s
const REMEMBERED = "placed.hosts";

export const state = {
  status: null, hosts: [], workloads: [], forecasts: [], migrations: [], adjustments: [], decisions: [], events: [],
  link: "connecting", // connecting | live | polling | reconnecting | gone
  seen: null, // wall time of the last good answer
};

const listeners = { change: [], event: [], leader: [] };
export const on = (kind, f) => listeners[kind].push(f);
const tell = (kind, ...args) => listeners[kind].forEach((f) => f(...args));

let scheduled = false;
function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    tell("change");
  });
}

export async function ask(path, options) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000), cache: "no-store", ...options });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const error = new Error(body?.error?.message || "the agent answered " + answer.status);
  error.hint = body?.error?.hint || "";
  throw error;
}

export const write = (method, path, body) =>
  ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Any agent's own copy will do for a picture: no page waits for a leader.
const read = (path) => ask(path + (path.includes("?") ? "&" : "?") + "stale");

// due says when each object is read next; an event makes some due at once.
const due = { status: 0, hosts: 0, workloads: 0, forecasts: 0, migrations: 0, adjustments: 0, decisions: 0 };
const paths = { migrations: "/v1/migrations?limit=100", decisions: "/v1/decisions?limit=60" };
let forecastTick = null;

function period(name) {
  const fast = (state.status?.time_scale || 1) > 1;
  switch (name) {
    case "status": case "hosts": case "workloads": return fast ? 1000 : 3000;
    case "migrations": return state.migrations.some(isActive) ? 500 : 5000;
    case "decisions": case "adjustments": return 5000;
    case "forecasts": return 15000; // and at once when the load tick changes
  }
}

export const isActive = (m) => m.phase !== "done" && m.phase !== "aborted";

let reading = false;
async function readDue() {
  if (reading || document.hidden) return;
  const now = Date.now();
  const names = Object.keys(due).filter((n) => due[n] <= now);
  if (names.length === 0) return;
  reading = true;
  try {
    const answers = await Promise.all(names.map((n) => read(paths[n] || "/v1/" + n)));
    names.forEach((n, i) => {
      // An event may have made it due again while the answer was under way.
      if (due[n] <= now) due[n] = Date.now() + period(n);
      take(n, answers[i]);
    });
    state.seen = Date.now();
    if (state.link === "gone" || state.link === "connecting") setLink(streaming ? "live" : "polling");
  } catch {
    names.forEach((n) => (due[n] = Date.now() + 1000));
    setLink(state.seen && Date.now() - state.seen < 2500 ? "reconnecting" : "gone");
  } finally {
    reading = false;
    changed();
  }
}

function take(name, value) {
  if (name === "status") {
    const before = state.status;
    state.status = value;
    if (before && (before.leader?.id || "") !== (value.leader?.id || "")) tell("leader", value);
    const tick = Math.floor(Date.parse(value.load_time) / 300000);
    if (tick !== forecastTick) due.forecasts = 0;
    forecastTick = tick;
    return;
  }
  state[name] = value;
  if (name === "hosts") remember(value);
}

function setLink(link) {
  if (state.link === link) return;
  state.link = link;
  changed();
}

// Where to go when this agent is gone.
function remember(hosts) {
  const known = hosts.filter((x) => x.api).map((x) => ({ name: x.name, api: x.api }));
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(known));
  } catch { /* a private window remembers nothing */ }
}
export function otherAgents() {
  let known = state.hosts.filter((x) => x.api && x.liveness !== "dead").map((x) => ({ name: x.name, api: x.api }));
  if (known.length === 0) {
    try {
      known = JSON.parse(localStorage.getItem(REMEMBERED)) || [];
    } catch { /* nothing remembered */ }
  }
  return known.filter((x) => x.api !== location.host);
}

const affects = {
  host: ["hosts", "status"], workload: ["workloads", "hosts", "adjustments"], lease: ["migrations", "workloads"],
  migration: ["migrations", "workloads", "hosts", "status"], decision: ["decisions", "forecasts"],
  policy: ["status"], cluster: ["status", "hosts"],
};

let streaming = false;
let cursor = null; // of the last line, to resume there
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function stream() {
  let delay = 500;
  for (;;) {
    const stop = new AbortController();
    let watchdog = setTimeout(() => stop.abort(), SILENCE);
    try {
      const from = cursor ? `?index=${cursor.index}&seq=${cursor.seq}` : "?index=0";
      const answer = await fetch("/v1/event/stream" + from, { signal: stop.signal, cache: "no-store" });
      if (!answer.ok) throw new Error("stream refused");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      streaming = true;
      setLink("live");
      for (const n of Object.keys(due)) due[n] = 0;
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        delay = 500;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => stop.abort(), SILENCE);
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.filter(Boolean).forEach((line) => takeLine(JSON.parse(line)));
      }
    } catch { /* told by the link state below */ }
    clearTimeout(watchdog);
    stop.abort();
    streaming = false;
    if (state.link === "live") setLink("reconnecting");
    due.status = 0;
    await sleep(delay + Math.random() * 250);
    delay = Math.min(delay * 2, 5000);
    if (state.link === "reconnecting" && Date.now() - state.seen < 2500) setLink("polling");
  }
}

function takeLine(event) {
  if (event.topic === "stream") {
    if (event.type === "heartbeat") cursor = event;
    else for (const n of Object.keys(due)) due[n] = 0; // truncated: read everything
    return;
  }
  cursor = event;
  state.events.unshift(event);
  if (state.events.length > 200) state.events.length = 200;
  for (const n of affects[event.topic] || []) due[n] = 0;
  tell("event", event);
  changed();
}

export function start() {
  stream();
  setInterval(readDue, 150);
  document.addEventListener("visibilitychange", readDue);
  readDue();
}
