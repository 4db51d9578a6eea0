// The load chart of one host: what was used, what is expected (bands and median),
// the capacity line, the last moment to leave and the moment it runs short.
import { h, setText } from "./dom.js";
import { amount, loadClock, isSet } from "./format.js";

const HOUR = 3600000;

export class Chart {
  constructor() {
    this.el = h("svg", { class: "chart", role: "img" });
    this.data = null;
    this.compact = false;
    new ResizeObserver(() => this.draw()).observe(this.el);
    this.el.addEventListener("pointermove", (e) => this.point(e));
    this.el.addEventListener("pointerleave", () => this.point(null));
  }

  // update draws a forecast; label is read to those who cannot see it.
  update(forecast, compact, label) {
    this.el.setAttribute("aria-label", label);
    if (forecast === this.data && compact === this.compact) return;
    this.data = forecast;
    this.compact = compact;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.el;
    if (!width || !height) return;
    this.el.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const f = this.data;
    if (!f || f.history.length + f.steps.length < 2) {
      this.scale = null;
      this.el.replaceChildren(text(width / 2, height / 2 + 4, f ? "collecting history…" : "no forecast yet", { "text-anchor": "middle" }));
      return;
    }
    const history = f.history.map((p) => ({ t: Date.parse(p.t), v: p.v }));
    const steps = f.steps.map((s) => ({ t: Date.parse(s.t), q: s.quantiles }));
    const s = this.scaleOf(f, history, steps, width, height);
    this.scale = { ...s, history, steps };
    const level = (q) => nearest(f.levels, q);
    const last = history.at(-1);
    // The bands begin at the last observed value: there is no doubt about now.
    const band = (low, high) => {
      const points = steps.map((p) => [p.t, p.q[level(low)], p.q[level(high)]]);
      if (last) points.unshift([last.t, last.v, last.v]);
      if (points.length < 2) return "";
      const there = points.map((p) => `${s.x(p[0])},${s.y(p[2])}`);
      const back = points.reverse().map((p) => `${s.x(p[0])},${s.y(p[1])}`);
      return "M" + there.join("L") + "L" + back.join("L") + "Z";
    };
    const middle = steps.map((p) => [p.t, p.q[level(0.5)]]);
    if (last) middle.unshift([last.t, last.v]);
    const parts = [...this.grid(f, s, width, height)];
    parts.push(
      h("path", { class: "outer", d: band(0.05, 0.95) }),
      h("path", { class: "inner", d: band(0.25, 0.75) }),
      h("path", { class: "median", d: line(middle, s) }),
      h("path", { class: "used", d: line(history.map((p) => [p.t, p.v]), s) }),
    );
    if (last) parts.push(h("line", { class: "now-line", x1: s.x(last.t), x2: s.x(last.t), y1: s.top, y2: s.bottom }));
    parts.push(h("line", { class: "capacity", x1: s.left, x2: s.right, y1: s.y(f.allocatable), y2: s.y(f.allocatable) }));
    parts.push(...this.marks(f, s));
    this.cursor = h("line", { class: "cursor", visibility: "hidden", y1: s.top, y2: s.bottom });
    this.readout = text(s.left + 3, s.bottom - 4, "");
    parts.push(this.cursor, this.readout);
    this.el.replaceChildren(...parts);
  }

  scaleOf(f, history, steps, width, height) {
    const top = this.compact ? 4 : 15;
    const bottom = height - (this.compact ? 2 : 16);
    const left = 1;
    const right = width - 1;
    const t0 = history[0]?.t ?? steps[0].t;
    const t1 = steps.at(-1)?.t ?? history.at(-1).t;
    const most = Math.max(f.allocatable, ...history.map((p) => p.v), ...steps.map((p) => p.q.at(-1)));
    const max = most * 1.08 || 1;
    return {
      top, bottom, left, right, t0, t1,
      x: (t) => left + ((t - t0) / (t1 - t0 || 1)) * (right - left),
      y: (v) => bottom - (Math.max(0, v) / max) * (bottom - top),
    };
  }

  grid(f, s, width, height) {
    const parts = [h("line", { class: "grid", x1: s.left, x2: s.right, y1: s.bottom, y2: s.bottom })];
    if (this.compact) return parts;
    const hours = (s.t1 - s.t0) / HOUR;
    const step = HOUR * (hours > 30 ? 12 : hours > 12 ? 4 : hours > 6 ? 2 : 1);
    for (let t = Math.ceil(s.t0 / step) * step; t <= s.t1; t += step) {
      const x = s.x(t);
      parts.push(h("line", { class: "grid", x1: x, x2: x, y1: s.top, y2: s.bottom }));
      if (x > 16 && x < width - 16) parts.push(text(x, height - 3, loadClock(t), { "text-anchor": "middle" }));
    }
    parts.push(text(s.left + 3, s.y(f.allocatable) - 4, amount(f.unit, f.allocatable), { class: "capacity-text" }));
    return parts;
  }

  marks(f, s) {
    const parts = [];
    const c = f.contention;
    if (!c) return parts;
    const breach = clamp(s.x(Date.parse(c.breach)), s.left + 5, s.right - 5);
    const y = s.y(f.allocatable);
    if (isSet(f.leave_by)) {
      const at = Date.parse(f.leave_by);
      const x = clamp(s.x(at), s.left + 1, s.right - 1);
      parts.push(h("line", { class: "leave", x1: x, x2: x, y1: s.top, y2: s.bottom }));
      if (!this.compact) parts.push(text(x - 4, s.bottom - 5, "leave by " + loadClock(at), { class: "leave-text", "text-anchor": "end" }));
    }
    parts.push(h("line", { class: "breach-line", x1: breach, x2: breach, y1: y, y2: s.bottom }));
    parts.push(h("path", { class: "breach", d: `M${breach - 5.5},${y + 9}L${breach + 5.5},${y + 9}L${breach},${y - 1}Z` }));
    if (!this.compact) {
      const end = breach > s.right - 90;
      const words = c.now ? "short now" : "short " + loadClock(c.breach);
      parts.push(text(end ? s.right - 2 : breach, s.top - 4, words, { class: "breach-text", "text-anchor": end ? "end" : "middle" }));
    }
    return parts;
  }

  // point shows the figures under the pointer.
  point(event) {
    if (!this.scale || !this.cursor || this.compact) return;
    if (!event) {
      this.cursor.setAttribute("visibility", "hidden");
      setText(this.readout, "");
      return;
    }
    const s = this.scale;
    const f = this.data;
    const x = event.clientX - this.el.getBoundingClientRect().left;
    const all = [...s.history, ...s.steps];
    const near = all.reduce((a, b) => (Math.abs(s.x(b.t) - x) < Math.abs(s.x(a.t) - x) ? b : a));
    this.cursor.setAttribute("x1", s.x(near.t));
    this.cursor.setAttribute("x2", s.x(near.t));
    this.cursor.setAttribute("visibility", "visible");
    const q = (level) => amount(f.unit, near.q[nearest(f.levels, level)]);
    setText(this.readout, loadClock(near.t) + "  " + (near.q ? `${q(0.5)}  (${q(0.05)} to ${q(0.95)})` : amount(f.unit, near.v)));
  }
}

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const line = (points, s) => (points.length < 2 ? "" : "M" + points.map((p) => `${s.x(p[0]).toFixed(1)},${s.y(p[1]).toFixed(1)}`).join("L"));

function text(x, y, words, attributes) {
  return h("text", { x, y, ...attributes }, words);
}

function nearest(levels, q) {
  let best = 0;
  levels.forEach((l, i) => {
    if (Math.abs(l - q) < Math.abs(levels[best] - q)) best = i;
  });
  return best;
}
