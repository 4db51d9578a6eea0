// The hosts as cards: load with its forecast, who uses it, what will happen.
import { $, h, keyed, setClass, setText } from "./dom.js";
import { NONE, amount, bytes, colour, isSet, loadClock, percent, seconds, unitOf } from "./format.js";
import { isActive, state } from "./data.js";
import { Chart } from "./chart.js";
import { showWhy } from "./why.js";

const COMPACT = 10; // more hosts than this get small cards
let resource = "cpu";

export function renderHosts() {
  if (!state.status) return;
  renderTools();
  const wanted = $("filter").value.trim().toLowerCase();
  const context = {
    byID: new Map(state.workloads.map((w) => [w.id, w])),
    moving: new Map(state.migrations.filter(isActive).map((m) => [m.workload, m])),
    names: new Map(state.hosts.map((x) => [x.id, x.name])),
    forecasts: new Map(state.forecasts.filter((f) => f.resource === resource).map((f) => [f.host, f])),
    compact: state.hosts.length > COMPACT,
  };
  const shown = state.hosts.filter((x) => !wanted || [x.name, x.zone, x.state, x.liveness, verdictOf(x, context.forecasts.get(x.id)).text, ...x.workloads].some((s) => s.toLowerCase().includes(wanted)));
  shown.sort((a, b) => natural(a.name, b.name));
  const cards = $("host-cards");
  setClass(cards, "compact", context.compact);
  if (shown.length === 0) {
    cards.keyed = new Map();
    cards.replaceChildren(h("p", { class: "empty" }, wanted ? `No host matches “${wanted}”.` : "No host has registered yet."));
    return;
  }
  keyed(cards, shown, (x) => x.id, createCard, (el, host) => el.card.update(host, context));
}

const natural = (a, b) => a.localeCompare(b, "en", { numeric: true });

function renderTools() {
  $("filter").hidden = state.hosts.length <= COMPACT;
  const resources = [...new Set(state.forecasts.map((f) => f.resource))];
  const group = $("resources");
  group.hidden = resources.length < 2;
  keyed(group, resources, (r) => r,
    (r) => h("button", { type: "button", onclick: () => { resource = r; renderHosts(); } }, r),
    (el, r) => el.setAttribute("aria-pressed", r === resource));
}

function createCard(host) {
  const card = new Card(host);
  card.el.card = card;
  return card.el;
}

class Card {
  constructor(host) {
    this.name = h("h3", {});
    this.zone = h("span", { class: "zone" });
    this.badges = h("span", {});
    this.now = h("span", { class: "now" });
    this.verdict = h("p", { class: "verdict" });
    this.chart = new Chart();
    this.bar = h("div", { class: "stack-bar", "aria-hidden": "true" });
    this.chips = h("div", { class: "chips" });
    this.meter = h("i", {});
    this.memoryText = h("span", {});
    this.el = h("article", { class: "host", "aria-label": "Host " + host.name },
      h("header", {}, this.name, this.badges, this.zone, this.now),
      this.verdict, this.chart.el, this.bar,
      h("div", { class: "memory" }, h("span", {}, "memory"), h("div", { class: "meter" }, this.meter), this.memoryText),
      this.chips);
  }

  update(host, context) {
    const unit = unitOf(resource);
    const forecast = context.forecasts.get(host.id);
    const used = host.usage[resource];
    const line = forecast?.allocatable ?? host.allocatable[resource];
    setText(this.name, host.name);
    setText(this.zone, "zone " + host.zone);
    this.now.replaceChildren(amount(unit, used), h("small", {}, " / " + amount(unit, line) + (unit === "cores" ? " cores" : "")));
    this.renderBadges(host);
    const verdict = verdictOf(host, forecast);
    setText(this.verdict, verdict.text);
    this.verdict.title = verdict.text;
    setClass(this.verdict, "alarm", verdict.alarm);
    setClass(this.el, "alarm", verdict.alarm);
    setClass(this.el, "away", host.liveness === "dead" || host.liveness === "stale");
    this.chart.update(forecast, context.compact, `${resource} of ${host.name}: ${amount(unit, used)} of ${amount(unit, line)} used. ${verdict.text}`);
    this.renderWorkloads(host, context, unit, line);
    this.renderMemory(host);
  }

  renderBadges(host) {
    const badges = [];
    if (host.leader) badges.push(["leader", "lead", "It plans for the fleet"]);
    if (host.state !== "active") badges.push([host.drain || host.state, "warn", "Set by an operator"]);
    if (host.liveness !== "alive") badges.push([host.liveness, "bad", "As observed by the other agents"]);
    if (host.overbooked) badges.push(["overbooked", "bad", "More is reserved than it has: nothing is granted toward it"]);
    keyed(this.badges, badges, (b) => b[0], (b) => h("span", { class: "badge " + b[1], title: b[2] }, b[0]));
  }

  renderWorkloads(host, context, unit, line) {
    const items = host.workloads.map((id) => context.byID.get(id) || { id, usage: {} });
    const total = items.reduce((sum, w) => sum + (w.usage[resource] || 0), 0);
    const whole = Math.max(line || 0, total) || 1;
    keyed(this.bar, items, (w) => w.id, (w) => h("i", { class: colour(w.id) }), (el, w) => {
      el.style.width = (100 * (w.usage[resource] || 0)) / whole + "%";
    });
    if (context.compact) return;
    keyed(this.chips, items, (w) => w.id, createChip, (el, w) => {
      const move = context.moving.get(w.id);
      setText(el.use, amount(unit, w.usage[resource]));
      setText(el.to, move ? "→ " + (context.names.get(move.to) || move.to) : "");
      el.to.hidden = !move;
      setClass(el, "moving", move);
      el.title = chipTitle(w);
    });
  }

  renderMemory(host) {
    const held = host.held.memory;
    const all = host.allocatable.memory;
    setText(this.memoryText, held === null ? NONE : `${bytes(held)} held of ${bytes(all)}`);
    this.meter.style.width = (all ? Math.min(100, (100 * held) / all) : 0) + "%";
    setClass(this.meter.parentElement, "over", all && held > all);
  }
}

function createChip(w) {
  const el = h("button", { type: "button", class: "chip", onclick: () => showWhy(w.id) },
    h("i", { class: colour(w.id) }), h("span", { class: "id" }, w.id));
  el.use = h("span", { class: "use" });
  el.to = h("span", { class: "to" });
  el.append(el.use, el.to);
  return el;
}

function chipTitle(w) {
  const words = [`Why is ${w.id} here?`];
  if (w.pinned) words.push("pinned");
  if (w.managed_by) words.push("managed by " + w.managed_by);
  if (isSet(w.cooldown_until)) words.push("may move again at " + loadClock(w.cooldown_until));
  return words.join(" · ");
}

// verdictOf is the one sentence that matters about a host right now.
function verdictOf(host, forecast) {
  const status = state.status;
  if (host.liveness === "dead" || host.liveness === "stale") {
    const silent = isSet(host.reported) ? (Date.parse(status.load_time) - Date.parse(host.reported)) / 1000 / (status.time_scale || 1) : null;
    return { alarm: true, text: silent === null ? "has not reported" : `no report for ${seconds(Math.max(0, silent))}; its workloads run on` };
  }
  const c = forecast?.contention;
  if (c?.now) return { alarm: true, text: `short of ${c.resource} now: ${amount(forecast.unit, c.demand)} wanted` };
  if (c) {
    const leave = isSet(forecast.leave_by) ? `, leave by ${loadClock(forecast.leave_by)}` : "";
    return { alarm: true, text: `short of ${c.resource} at ${loadClock(c.breach)} (${percent(c.probability)})${leave}` };
  }
  if (!forecast || forecast.steps.length === 0) return { alarm: false, text: host.allocatable[resource] == null ? `no ${resource} declared` : "no forecast yet" };
  if (isSet(forecast.breach)) return { alarm: false, text: `may be short of ${resource} from ${loadClock(forecast.breach)} on (${percent(forecast.probability)}), by ${amount(forecast.unit, forecast.excess)} at the worst` };
  const minutes = (forecast.steps.length * forecast.tick_seconds) / 60;
  return { alarm: false, text: `enough for the next ${minutes} min` };
}
