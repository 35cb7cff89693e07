// How the system is: its pace, what waits, the consumers, the parts; and in the embedded stack what happens when a worker dies.

import { get, repeatedly } from "../api.js";
import { charts, rate } from "../chart.js";
import { failure, h, room, say, section, table, update } from "../dom.js";
import { drill } from "../drill.js";
import { badge, count, seconds, took } from "../format.js";
import { groupTable } from "./consumers.js";

const EVERY_SECONDS = 2;
const RATE_SECONDS = 10;
const STACK = [["Part", ""], ["Health", ""], ["Process", "num end"], ["Restarts", "num end"], ["", "wide grow"]];

/** The view. */
export async function overview(root, { signal }) {
  const trouble = h("div", { "aria-live": "polite" });
  const tiles = h("div", {});
  const pace = h("div", {});
  const counts = h("div", {});
  const groups = room();
  const parts = h("div", {});
  const stack = room();
  root.append(h("h1", { tabindex: -1 }, "Overview"), trouble, tiles, section("The last minute", pace, counts));

  const refresh = async () => {
    const system = await get("v1/system", { signal });
    update(tiles, tilesOf(system));
    update(pace, system.throughput && charts(system.throughput));
    update(counts, system.throughput && countsOf(system.throughput));
    update(parts, partsOf(system));
    update(groups, system.groups ? groupTable(system.groups) : h("p", { class: "failure" }, "Unknown while Kafka or PostgreSQL does not answer."));
    update(stack, system.stack && stackTable(system.stack));
    return system;
  };
  const first = await refresh();
  root.append(
    h("div", { class: "columns" }, section("Consumers", groups), section("Servers", parts)),
    first.stack && section("What if a worker dies?", drill(signal), h("h3", {}, "This stack"), stack),
  );
  let away = false;
  repeatedly(EVERY_SECONDS, signal, async () => {
    try {
      await refresh();
      if (away) say("The API answers again.");
      away = false;
      update(trouble);
    } catch (error) {
      if (signal.aborted) return;
      away = true;
      update(trouble, failure(error));
    }
  });
}

function tilesOf({ throughput, standing, outbox }) {
  const tile = (name, value, { href = null, note = null, mood = null } = {}) =>
    h("div", { class: `tile ${mood ?? ""}` }, h("dt", {}, href ? h("a", { href }, name) : name), h("dd", { class: "num" }, value, note && h("small", {}, note)));
  const unknown = "?";
  const parked = standing?.parked ?? unknown;
  const waiting = standing ? standing.waiting_for_approval + standing.waiting_for_date : unknown;
  return h(
    "dl",
    { class: "tiles" },
    tile("Rate", throughput ? `${rate(throughput, RATE_SECONDS).toFixed(1)}/s` : unknown, { note: `over ${RATE_SECONDS} s` }),
    tile("Latency", took(throughput?.latency_p50_ms), { note: throughput ? `95 %: ${took(throughput.latency_p95_ms)}` : null }),
    tile("Under way", standing ? count(Math.max(0, standing.carried - standing.parked - waiting)) : unknown),
    tile("Parked", String(parked), { href: "#/attention", mood: parked > 0 ? "bad" : null }),
    tile("Waiting", String(waiting), { href: "#/attention", note: standing?.waiting_for_approval ? `${standing.waiting_for_approval} for approval` : null }),
    tile("Outbox", outbox ? count(outbox.events) : unknown, { href: "#/consumers", note: outbox?.events > 0 ? `the oldest ${seconds(outbox.oldest_seconds)}` : null }),
  );
}

function countsOf(throughput) {
  const each = (name, number) => h("span", { class: "count" }, badge(name), ` ${count(number)}`);
  return h(
    "p",
    { class: "counts" },
    ["completed", "rejected", "reversed"].map((name) => each(name, throughput[name])),
    h("span", { class: "count" }, badge("processing"), ` ${count(throughput.open)}`),
    throughput.truncated && h("span", { class: "muted" }, "of the newest ones alone: there are too many to count"),
  );
}

function partsOf(system) {
  const rows = Object.entries(system.parts).map(([name, state]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, state === "ready" ? badge("ready") : h("span", {}, badge("failed"), ` ${state}`))),
  );
  return h("dl", { class: "facts" }, rows);
}

function stackTable(parts) {
  const rows = parts.map((part) => ({
    key: part.name,
    cells: [part.name, badge(part.health), part.pid === null ? "–" : String(part.pid), count(part.restarts), part.detail],
  }));
  return table("Parts of this stack", STACK, rows);
}
