// Migrations: the running ones with their progress, the ended ones as a table.
import { $, h, keyed, setClass, setText } from "./dom.js";
import { NONE, bytes, isSet, loadClock, millis, seconds, wallClock } from "./format.js";
import { isActive, state } from "./data.js";
import { showWhy } from "./why.js";

const PHASES = ["offered", "copying", "holding", "frozen", "prepared", "committed", "activated", "done"];

export function renderMoves() {
  const names = new Map(state.hosts.map((x) => [x.id, x.name]));
  const name = (id) => names.get(id) || id;
  renderRunning(state.migrations.filter(isActive), name);
  const ended = state.migrations.filter((m) => !isActive(m));
  $("moved-empty").hidden = ended.length > 0;
  keyed($("moved"), ended, (m) => m.lease, (m) => h("tr", {}), (row, m) => renderEnded(row, m, name));
  $("adjusted-panel").hidden = state.adjustments.length === 0;
  keyed($("adjusted"), state.adjustments, (a) => `${a.workload} ${a.kind}`, () => h("tr", {}), (row, a) => renderAdjusted(row, a, name));
}

// renderAdjusted shows what was done to a workload instead of a move; it is taken back
// when its reason is gone.
function renderAdjusted(row, a, name) {
  const content = JSON.stringify(a);
  if (row.content === content) return;
  row.content = content;
  row.title = a.reason;
  const cell = (label, value) => h("td", { "data-label": label }, value);
  row.replaceChildren(
    cell("Since", loadClock(a.since)),
    cell("Workload", h("button", { type: "button", class: "plain", onclick: () => showWhy(a.workload) }, a.workload)),
    cell("Host", name(a.host)),
    cell("What", a.kind),
    cell("Is", a.text),
    cell("State", h("span", { class: "badge" + (a.state === "failed" ? " bad" : "") }, a.state)),
  );
}

function renderRunning(running, name) {
  const container = $("running");
  if (running.length === 0) {
    if (!container.querySelector(".empty")) {
      container.keyed = new Map();
      container.replaceChildren(h("p", { class: "empty" }, "No move is running."));
    }
    return;
  }
  keyed(container, running, (m) => m.lease, createMove, (el, m) => updateMove(el, m, name));
}

function createMove() {
  const el = h("article", { class: "move" });
  el.head = h("div", { class: "move-head" });
  el.phases = h("ol", { class: "phases", "aria-label": "Phases" }, ...PHASES.map((p) => h("li", {}, p)));
  el.bars = h("span", { class: "rounds" });
  el.reason = h("p", { class: "reason" });
  el.who = h("b", {});
  el.way = h("span", {});
  el.type = h("span", { class: "badge" });
  el.figures = h("span", { class: "figures" });
  el.head.append(el.who, el.way, el.type, el.figures);
  el.append(el.head, el.phases, el.bars, el.reason);
  return el;
}

function updateMove(el, m, name) {
  setText(el.who, m.workload);
  setText(el.way, `${name(m.from)} → ${name(m.to)}`);
  const waits = m.phase === "standby";
  setText(el.type, waits ? `${m.type} · standby` : m.type);
  const leave = isSet(m.leave_by) ? ` · leave by ${loadClock(m.leave_by)}` : "";
  const fresh = waits ? ` · copy brought up to date every ${seconds(m.refresh_s)}` : "";
  setText(el.figures, `${bytes(m.bytes)} sent of ${bytes(m.total_bytes)} state · ${millis(m.duration_ms)}${leave}${fresh}`);
  const at = PHASES.indexOf(waits ? "copying" : m.phase);
  [...el.phases.children].forEach((li, i) => {
    setClass(li, "past", i < at);
    setClass(li, "here", i === at);
    if (i === at) li.setAttribute("aria-current", "step");
    else li.removeAttribute("aria-current");
  });
  const rounds = m.rounds || [];
  const most = Math.max(1, ...rounds.map((r) => r.dirty_bytes));
  const bars = rounds.map((r) => {
    const bar = h("i", { title: `round ${r.round}: ${bytes(r.dirty_bytes)} changed, ${bytes(r.wire_bytes)} sent, ${millis(r.took_ms)}` });
    bar.style.height = Math.max(8, (100 * r.dirty_bytes) / most) + "%";
    return bar;
  });
  const last = rounds.at(-1);
  const words = last ? `round ${last.round}: ${bytes(last.dirty_bytes)} changed · ${m.tracker}` : "waiting for the first round";
  el.bars.replaceChildren(...bars, h("span", {}, words));
  setText(el.reason, m.reason || "");
  el.reason.title = m.reason || "";
}

function renderEnded(row, m, name) {
  const content = JSON.stringify(m) + name(m.from) + name(m.to);
  if (row.content === content) return;
  row.content = content;
  const failed = m.phase === "aborted" || Boolean(m.error);
  setClass(row, "failed", failed);
  row.title = m.error || m.reason || "";
  const cell = (label, value, numeric) => h("td", { "data-label": label, class: numeric ? "n" : null }, value);
  const came = failed ? h("span", { class: "badge bad" }, "aborted")
    : m.contention_came === null || m.contention_came === undefined ? NONE
    : h("span", { class: "badge" + (m.contention_came ? " good" : "") }, m.contention_came ? "yes" : "no");
  row.replaceChildren(
    cell("Ended", isSet(m.ended) ? wallClock(m.ended) : NONE),
    cell("Workload", h("button", { type: "button", class: "plain", onclick: () => showWhy(m.workload) }, m.workload)),
    cell("Way", `${name(m.from)} → ${name(m.to)}`),
    cell("Rounds", String(m.round_count || (m.rounds || []).length), true),
    cell("Sent", bytes(m.bytes), true),
    cell("Took", millis(m.duration_ms), true),
    cell("Downtime", failed ? NONE : millis(m.downtime_ms), true),
    cell("Lead", seconds(m.lead_time_s), true),
    cell("Came", came),
  );
}
