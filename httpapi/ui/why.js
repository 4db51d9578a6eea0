// The dialog that explains one workload.
import { $, h } from "./dom.js";
import { NONE, amount, bytes, isSet, loadClock, millis } from "./format.js";
import { ask, state } from "./data.js";
import { decision, namer } from "./decisions.js";

export async function showWhy(id) {
  const dialog = $("why");
  const body = $("why-body");
  $("why-title").textContent = id;
  body.replaceChildren(h("p", { class: "muted" }, "asking…"));
  if (!dialog.open) dialog.showModal();
  try {
    const why = await ask("/v1/why?stale&workload=" + encodeURIComponent(id));
    body.replaceChildren(...content(why));
  } catch (error) {
    const known = state.workloads.find((w) => w.id === id);
    body.replaceChildren(h("p", { class: "error" }, "The agent could not explain it: " + error.message), ...(known ? [facts(known)] : []));
  }
}

function content(why) {
  const name = namer();
  const parts = [h("p", {}, why.summary), facts(why.workload)];
  if (why.lease) parts.push(h("p", {}, `Lease ${why.lease.id} (${why.lease.type}) is ${why.lease.state}: ${name(why.lease.source)} → ${name(why.lease.destination)}.`));
  if (why.migrations?.length) {
    parts.push(h("h2", {}, "Moves"), h("table", {}, h("tbody", {}, ...why.migrations.map((m) =>
      h("tr", {}, h("td", {}, `${name(m.from)} → ${name(m.to)}`), h("td", {}, m.type), h("td", {}, m.phase), h("td", { class: "n" }, millis(m.downtime_ms) + " downtime"))))));
  }
  parts.push(h("h2", {}, "Decisions"));
  if (why.decisions?.length) parts.push(...why.decisions.map((d) => decision(d, name)));
  else parts.push(h("p", { class: "muted" }, "No pass has decided anything about it: its host has had enough for it."));
  return parts;
}

function facts(w) {
  const name = namer();
  const pairs = [
    ["Host", name(w.owner)], ["Kind", w.kind], ["Driver", w.driver], ["CPU used", amount("cores", w.usage.cpu) + " cores"],
    ["Memory reserved", bytes(w.reservation.memory)], ["State", bytes(w.size)], ["Priority", w.priority],
    ["Tolerance", w.tolerance], ["Port", w.port || NONE], ["Moved", (w.epoch ?? 0) + " times"],
    ["May move", w.managed_by ? "no: managed by " + w.managed_by : w.pinned ? "no: pinned" : isSet(w.cooldown_until) ? "from " + loadClock(w.cooldown_until) : "yes"],
  ];
  return h("dl", { class: "pairs" }, ...pairs.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, String(v)))));
}
