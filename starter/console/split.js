// The picture of a balance: what came in (offline), what went out (online), what is left, what is held, what is available.

import { h, svg } from "./dom.js";
import { money } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 20;
const LEAST = 4;

/** A figure with a bar for each amount, all on one scale, and a sentence that says the same. */
export function split(balance, overdraftLimit) {
  const number = (name) => Number(balance[name]);
  const [credits, debits, ledger, held, available] = ["offline", "online", "ledger", "held", "available"].map(number);
  const bars = [
    ["Offline: all credits", "offline", 0, credits, "credit"],
    ["Online: all debits", "online", ledger, credits, "debit"],
    ["Ledger balance", "ledger", 0, ledger, "ledger"],
    ["Held", "held", ledger - held, ledger, "held"],
    ["Available", "available", 0, available, "available"],
  ];
  const ends = bars.flatMap(([, , from, to]) => [from, to]);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const scale = (value) => (most > least ? ((value - least) / (most - least)) * WIDTH : 0);
  const rows = bars.map(([label, name, from, to, kind]) => [
    h("dt", {}, label),
    h("dd", { class: "num end" }, `${name === "online" || name === "held" ? "− " : ""}${money(balance[name], balance.currency)}`),
    h("dd", { class: "drawn", "aria-hidden": "true" }, bar(scale(Math.min(from, to)), scale(Math.max(from, to)), scale(0), kind)),
  ]);
  return h(
    "figure",
    { class: "split" },
    h("dl", {}, rows.map((row) => h("div", {}, row))),
    h("figcaption", {}, sentence(balance, overdraftLimit)),
  );
}

function bar(from, to, zero, kind) {
  const width = to > from ? Math.max(LEAST, to - from) : 0;
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", focusable: "false" },
    svg("rect", { x: Math.min(from, WIDTH - width), y: 3, width, height: HEIGHT - 6, class: `bar-${kind}` }),
    svg("line", { x1: zero, x2: zero, y1: 0, y2: HEIGHT, class: "zero" }),
  );
}

function sentence(balance, overdraftLimit) {
  const told = (name) => money(balance[name], balance.currency);
  const overdraft = Number(overdraftLimit) > 0 ? `, with an overdraft of ${money(overdraftLimit, balance.currency)}` : "";
  return (
    `Credits of ${told("offline")}, which wait for nothing, less debits of ${told("online")}, decided one by one, leave ${told("ledger")}. ` +
    `Of that ${told("held")} is held; ${told("available")} is available${overdraft}.`
  );
}
