// Small pictures of the last seconds: how many transactions ended, and how long they took. Each comes with the same in words.

import { h, svg } from "./dom.js";
import { count, took } from "./format.js";

const HEIGHT = 100;
const KINDS = ["completed", "reversed", "rejected"];

/** Both pictures of a throughput of the API. */
export function charts(throughput) {
  const slots = bySecond(throughput);
  return h("div", { class: "charts" }, rateChart(slots), latencyChart(slots));
}

/** The rate of the last `span` full seconds, per second. */
export function rate(throughput, span) {
  return bySecond(throughput)
    .slice(-span)
    .reduce((sum, slot) => sum + ended(slot), 0) / span;
}

/** One slot for each second of the window, the oldest first; null where nothing ended. */
function bySecond({ until, window_seconds: window, seconds }) {
  const end = Date.parse(until) / 1000;
  const slots = new Array(window).fill(null);
  for (const second of seconds) {
    const place = window - (end - Date.parse(second.at) / 1000);
    if (place >= 0 && place < window) slots[place] = second;
  }
  return slots;
}

function ended(slot) {
  return slot === null ? 0 : KINDS.reduce((sum, kind) => sum + slot[kind], 0);
}

function rateChart(slots) {
  const most = Math.max(1, ...slots.map(ended));
  const bars = slots.flatMap((slot, place) => {
    let below = 0;
    return KINDS.filter((kind) => slot?.[kind] > 0).map((kind) => {
      const height = (slot[kind] / most) * HEIGHT;
      below += height;
      return svg("rect", { x: place + 0.1, width: 0.8, y: HEIGHT - below, height, class: `bar-${kind}` });
    });
  });
  const all = slots.reduce((sum, slot) => sum + ended(slot), 0);
  return picture("Ended per second", slots, bars, `${count(most)}/s`, `${count(all)} transactions ended in the last ${slots.length} seconds, at most ${count(most)} in one second.`, KINDS);
}

function latencyChart(slots) {
  const slow = slots.map((slot) => slot?.latency_p95_ms ?? null);
  const median = slots.map((slot) => slot?.latency_p50_ms ?? null);
  const most = Math.max(10, ...slow);
  const bars = (values, kind) =>
    values.flatMap((value, place) => {
      const height = value === null ? 0 : Math.max(1, (value / most) * HEIGHT);
      return height ? svg("rect", { x: place + 0.1, width: 0.8, y: HEIGHT - height, height, class: `bar-${kind}` }) : [];
    });
  const known = slow.filter((value) => value !== null);
  const words = known.length ? `The slowest 5 % of a second took up to ${took(Math.max(...known))} from submission to outcome.` : "Nothing ended.";
  return picture("From submission to outcome", slots, [...bars(slow, "p95"), ...bars(median, "p50")], took(most), words, ["p50", "p95"]);
}

function picture(heading, slots, shapes, most, words, legend) {
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("h3", {}, heading), h("span", { class: "hidden" }, words), h("span", { class: "legend", "aria-hidden": "true" }, legend.map((kind) => h("span", { class: `key-${kind}` }, kind)))),
    h(
      "div",
      { class: "plot", "aria-hidden": "true" },
      h("span", { class: "most num" }, most),
      svg("svg", { viewBox: `0 0 ${slots.length} ${HEIGHT}`, preserveAspectRatio: "none", focusable: "false" }, shapes),
      h("span", { class: "axis" }, h("span", {}, `${slots.length} s ago`), h("span", {}, "now")),
    ),
  );
}
