// The page: reads, listens, and draws what changed.
import { $, h, keyed } from "./dom.js";
import { wallClock } from "./format.js";
import { on, start, state } from "./data.js";
import { renderAlarms, renderHeader, wireAutomation } from "./header.js";
import { renderHosts } from "./hosts.js";
import { renderMoves } from "./moves.js";
import { renderDecisions } from "./decisions.js";

function renderEvents() {
  if (state.events.length === 0) return;
  keyed($("event-list"), state.events, (e) => e.index + "." + e.seq, (e) =>
    h("li", {}, h("time", { class: "muted", datetime: e.at }, wallClock(e.at)),
      h("span", { class: "muted" }, "#" + e.index), h("span", {}, e.topic), h("span", { class: "what" }, e.message || e.type)));
}

function render() {
  renderHeader();
  renderHosts();
  renderMoves();
  renderDecisions();
  renderEvents();
  renderAlarms();
}

on("change", render);
$("filter").addEventListener("input", renderHosts);
$("why-close").addEventListener("click", () => $("why").close());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
}
wireAutomation();
start();
