// Decisions with their reasons; scores and exclusions unfold.
import { $, h, keyed } from "./dom.js";
import { amount, isSet, loadClock, percent, unitOf } from "./format.js";
import { state } from "./data.js";

const TONE = { move: "good", observe: "warn", refused: "bad", none: "" };

export function renderDecisions() {
  const list = $("decision-list");
  if (state.decisions.length === 0) return;
  const name = namer();
  keyed(list, state.decisions, (d) => d.id, (d) => decision(d, name));
}

export function namer() {
  const names = new Map(state.hosts.map((x) => [x.id, x.name]));
  return (id) => names.get(id) || id;
}

export function decision(d, name) {
  const way = d.from && d.to ? ` ${name(d.from)} → ${name(d.to)}` : d.from ? ` on ${name(d.from)}` : "";
  const el = h("details", { class: "decision" },
    h("summary", {},
      h("span", { class: "badge " + (TONE[d.outcome] || "") }, d.outcome),
      h("span", { class: "who" }, (d.workload || "fleet") + way),
      h("time", { datetime: d.at, title: "load time" }, loadClock(d.at)),
      h("span", { class: "text" }, d.reason)));
  // Unfolded on demand: most are never looked at.
  el.addEventListener("toggle", () => {
    if (el.open && el.children.length === 1) el.append(detail(d, name));
  });
  return el;
}

function detail(d, name) {
  const parts = [];
  const c = d.contention;
  if (c) {
    const unit = unitOf(c.resource);
    parts.push(section("Predicted contention",
      h("p", {}, `${c.resource} of ${name(c.host)}: ${amount(unit, c.demand)} wanted, ${amount(unit, c.allocatable)} allocatable, at ${loadClock(c.breach)} (in ${c.steps} ticks), probability ${percent(c.probability)}` +
        (isSet(d.leave_by) ? `; leave by ${loadClock(d.leave_by)}` : ""))));
  }
  if (d.candidate_score?.length) parts.push(section("Why this workload", bars(d.candidate_score.map((p) => [p.name, p.value]))));
  if (d.scores?.length) {
    parts.push(section("Destinations, best first", bars(d.scores.map((s) => [name(s.host), s.total, (s.parts || []).map((p) => `${p.name} ${p.value.toFixed(2)}`).join(", ")]))));
  }
  if (d.exclusions?.length) {
    parts.push(section("Refused", h("table", {}, h("tbody", {}, ...d.exclusions.map((e) =>
      h("tr", {}, h("th", { scope: "row" }, e.host ? name(e.host) : e.workload), h("td", {}, e.reason)))))));
  }
  parts.push(h("p", { class: "muted" }, `decision ${d.id}, pass ${d.pass}` + (d.input_hash ? `, input ${d.input_hash}` : "")));
  return h("div", { class: "detail" }, ...parts);
}

const section = (title, body) => h("div", {}, h("h4", {}, title), body);

function bars(rows) {
  const most = Math.max(...rows.map((r) => Math.abs(r[1]))) || 1;
  return h("table", {}, h("tbody", {}, ...rows.map(([label, value, note]) => {
    const bar = h("i", { class: value < 0 ? "minus" : null });
    bar.style.width = (70 * Math.abs(value)) / most + "%";
    return h("tr", {}, h("th", { scope: "row" }, label), h("td", { class: "bar-cell" }, h("div", { class: "bar" }, bar, value.toFixed(2))), h("td", { class: "muted" }, note || ""));
  })));
}
