// How figures look: units an operator thinks in, and a fixed number of digits so
// that nothing dances while it changes.

export const NONE = "–";

export function amount(unit, value) {
  if (value === null || value === undefined) return NONE;
  if (unit === "cores" || unit === "units") return value.toFixed(2);
  return bytes(value) + (unit === "bytes/s" ? "/s" : "");
}

export const unitOf = (resource) =>
  ({ cpu: "cores", memory: "bytes", net: "bytes/s", disk: "bytes/s" })[resource] || "units";

export function bytes(n) {
  if (n === null || n === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  let v = n;
  while (Math.abs(v) >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return (i === 0 || v >= 100 ? v.toFixed(0) : v.toFixed(1).replace(/\.0$/, "")) + " " + units[i];
}

export function millis(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 10) return ms.toFixed(1) + " ms";
  if (ms < 1000) return ms.toFixed(0) + " ms";
  return seconds(ms / 1000);
}

export function seconds(s) {
  if (s === null || s === undefined) return NONE;
  const sign = s < 0 ? "−" : "";
  s = Math.abs(s);
  if (s < 10) return sign + s.toFixed(1) + " s";
  if (s < 120) return sign + s.toFixed(0) + " s";
  if (s < 7200) return sign + (s / 60).toFixed(0) + " min";
  return sign + (s / 3600).toFixed(1) + " h";
}

const two = (n) => String(n).padStart(2, "0");

// Load time is shown as the agent tells it (UTC), wall time as the reader's clock.
export function loadClock(text) {
  const t = new Date(text);
  return two(t.getUTCHours()) + ":" + two(t.getUTCMinutes());
}
export function loadDay(text) {
  return new Date(text).toISOString().slice(0, 10);
}
export function wallClock(time) {
  const t = new Date(time);
  return two(t.getHours()) + ":" + two(t.getMinutes()) + ":" + two(t.getSeconds());
}
// A Go zero time or nothing at all means: not yet.
export const isSet = (text) => Boolean(text) && !text.startsWith("0001-");

export const percent = (p) => Math.round(100 * p) + " %";

export function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

// The colour of a workload stays the same on every host it moves to.
export function colour(id) {
  let h = 2166136261;
  for (let i = 0; i < id.length; i++) h = Math.imul(h ^ id.charCodeAt(i), 16777619);
  return "c" + ((h >>> 0) % 8);
}
