// Who leads, where the clocks stand, what is wrong, and the automation switch.
import { $, h, keyed, setClass, setText } from "./dom.js";
import { NONE, loadClock, loadDay, median, millis, wallClock } from "./format.js";
import { on, otherAgents, state, write } from "./data.js";

const LINK = { connecting: "connecting", live: "live", polling: "live by polling", reconnecting: "reconnecting", gone: "agent gone" };

export function renderHeader() {
  $("link").dataset.state = state.link;
  setText($("link").lastElementChild, LINK[state.link]);
  renderLinkNotice();
  const s = state.status;
  if (!s) return;
  setText($("cluster"), s.cluster);
  document.title = (s.contentions > 0 ? "▲ " : "") + s.cluster + " · placed";
  setText($("leader"), s.leader ? s.leader.name : "none");
  setText($("term"), s.term);
  setText($("index"), s.index);
  setText($("agent"), s.host.name);
  setText($("version"), s.version || NONE);
  $("load-time").replaceChildren(`${loadDay(s.load_time)} ${loadClock(s.load_time)} `, h("span", { class: "scale" }, `UTC × ${s.time_scale}`));
  renderAutomation(s);
  renderTiles(s);
  renderProblems(s);
}

function renderTiles(s) {
  const done = state.migrations.filter((m) => m.phase === "done");
  const judged = done.filter((m) => typeof m.contention_came === "boolean");
  const came = judged.filter((m) => m.contention_came).length;
  const downtime = median(done.map((m) => m.downtime_ms));
  const tiles = [
    ["Hosts alive", s.hosts_alive, "of " + s.hosts, s.hosts_alive < s.hosts],
    ["Voters alive", s.voters_alive, "of " + s.voters, s.voters_alive < s.voters],
    ["Workloads", s.workloads, ""],
    ["Predicted contentions", s.contentions, "", s.contentions > 0],
    ["Moves running", s.migrations_active, ""],
    ["Moves done", s.migrations_total, s.migrations_failed ? s.migrations_failed + " failed" : judged.length ? `${came} of ${judged.length} needed` : ""],
    ["Median downtime", downtime === null ? NONE : millis(downtime), ""],
  ];
  keyed($("tiles"), tiles, (t) => t[0], (t) => {
    const el = h("div", { class: "tile" }, h("span", {}, t[0]));
    el.value = h("b", {});
    el.append(el.value);
    return el;
  }, (el, t) => {
    setClass(el, "bad", t[3]);
    const words = `${t[1]}|${t[2]}`;
    if (el.words === words) return;
    el.words = words;
    el.value.replaceChildren(String(t[1]), t[2] ? h("small", {}, " " + t[2]) : "");
  });
}

function renderProblems(s) {
  keyed($("problems"), s.problems || [], (p) => p.code + p.message, (p) =>
    h("div", { class: "problem" }, h("b", {}, p.message), p.hint ? " · " + p.hint : ""));
}

// Notices. A lasting one says how the page is connected; passing ones tell what
// just happened.
const notices = new Map();

function notice(key, tone, parts, lasting) {
  const words = parts.map((p) => p.textContent ?? p).join("");
  const old = notices.get(key);
  if (old?.words === words) return;
  const el = h("div", { class: "notice " + tone }, ...parts);
  notices.set(key, { el, words });
  if (old) old.el.replaceWith(el);
  else $("notices").append(el);
  if (!lasting) setTimeout(() => { if (notices.get(key)?.el === el) dismiss(key); }, 9000);
}

function dismiss(key) {
  notices.get(key)?.el.remove();
  notices.delete(key);
}

function renderLinkNotice() {
  const at = state.seen ? wallClock(state.seen) : null;
  if (state.link === "gone") {
    const links = otherAgents().map((x) => h("a", { href: `${location.protocol}//${x.api}/ui/` }, x.name));
    const parts = [h("b", {}, "This agent is gone"), h("span", {}, at ? `showing the state of ${at}; trying again` : "trying again")];
    if (links.length) parts.push(h("span", {}, "Open another agent:"), ...links);
    notice("link", "bad", parts, true);
  } else if (state.link === "reconnecting") {
    notice("link", "warn", [h("b", {}, "Reconnecting"), h("span", {}, at ? `showing the state of ${at}` : "")], true);
  } else {
    dismiss("link");
  }
}

on("leader", (s) => {
  if (s.leader) notice("leader", "info", [h("b", {}, `${s.leader.name} is the leader now`), h("span", {}, `term ${s.term}; the fleet goes on`)]);
  else notice("leader", "warn", [h("b", {}, "No leader"), h("span", {}, "an election is under way; workloads run on, nothing is planned until it ends")]);
});

// Alarms are said once, when they begin.
let alarmed = new Set();
export function renderAlarms() {
  const now = new Map();
  for (const f of state.forecasts) {
    if (f.contention) now.set(f.host + f.resource, f);
  }
  const fresh = [...now.keys()].filter((k) => !alarmed.has(k)).map((k) => now.get(k));
  if (fresh.length && fresh.length <= 3) {
    const names = new Map(state.hosts.map((x) => [x.id, x.name]));
    const words = fresh.map((f) => `${names.get(f.host) || f.host}: ${f.resource} runs short at ${loadClock(f.contention.breach)}`);
    notice("alarm", "bad", [h("b", {}, "Predicted contention"), h("span", {}, words.join("; "))]);
  }
  alarmed = new Set(now.keys());
}

function renderAutomation(s) {
  const button = $("automation");
  button.disabled = state.link === "gone";
  button.setAttribute("aria-checked", s.automation === "auto");
  setText($("automation-level"), s.paused ? s.automation + " (paused)" : s.automation);
}

const TEXT = {
  auto: {
    title: "Let placed move workloads?",
    text: "From the next pass on, placed moves workloads by itself, within the budgets and cool-downs of the policy. Moves that are running go on either way.",
    yes: "Switch to auto",
  },
  observe: {
    title: "Stop moving workloads?",
    text: "placed keeps watching, forecasting and explaining, and moves nothing by itself. A move that is running is finished.",
    yes: "Switch to observe",
  },
};

export function wireAutomation() {
  const dialog = $("confirm");
  let wanted = "observe";
  $("automation").addEventListener("click", () => {
    wanted = state.status?.automation === "auto" ? "observe" : "auto";
    setText($("confirm-title"), TEXT[wanted].title);
    setText($("confirm-text"), TEXT[wanted].text);
    setText($("confirm-yes"), TEXT[wanted].yes);
    setText($("confirm-error"), "");
    $("confirm-yes").disabled = false;
    dialog.showModal();
  });
  $("confirm-no").addEventListener("click", () => dialog.close());
  $("confirm-yes").addEventListener("click", async () => {
    $("confirm-yes").disabled = true;
    try {
      await write("PUT", "/v1/policy", { automation: wanted });
      state.status.automation = wanted;
      renderAutomation(state.status);
      dialog.close();
    } catch (error) {
      setText($("confirm-error"), error.message + (error.hint ? ": " + error.hint : ""));
      $("confirm-yes").disabled = false;
    }
  });
}
