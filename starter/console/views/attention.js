// Transactions that don't go on by themselves: parked ones, and those that wait.

import { get, repeatedly } from "../api.js";
import { buttons, obey } from "../actions.js";
import { failure, h, room, section, table, update } from "../dom.js";
import { accountLink, money, outside, standing, time, transactionLink } from "../format.js";

const EVERY_SECONDS = 5;
const COLUMNS = [["Transaction", ""], ["Status", ""], ["Amount", "num end"], ["From, to", "wide"], ["Until", "num wide"], ["Since", "num wide"], ["What may be done", ""]];

/** The view: two tables with the operator's actions. */
export async function attention(root, { signal }) {
  const heading = h("h1", { tabindex: -1 }, "Needs attention");
  const parked = room();
  const waiting = room();
  const links = h("p", { class: "muted" });
  const note = h("div", { "aria-live": "polite" });
  let known = new Map();
  root.append(
    heading,
    note,
    section("Parked", h("p", { class: "muted" }, "No retry can settle these; somebody has to."), parked),
    section("Waiting", h("p", { class: "muted" }, "For a second person's approval, or for the day that was asked for."), waiting),
    links,
  );
  const refresh = async () => {
    const found = await get("v1/system/attention", { signal });
    known = new Map(found.transactions.map((each) => [each.transaction_id, each]));
    const of = (isParked) => found.transactions.filter((each) => (each.status === "parked") === isParked).map(row);
    update(parked, table("Parked transactions", COLUMNS, of(true), { empty: "None is parked.", kind: "blocks" }));
    update(waiting, table("Waiting transactions", COLUMNS, of(false), { empty: "None waits.", kind: "blocks" }));
    update(note, !found.complete && h("p", { class: "notice" }, "There are more than are shown here."));
  };
  obey(root, {
    find: (id) => known.get(id),
    done: async () => {
      await refresh();
      heading.focus();
    },
  });
  const { web_ui: webUi } = await get("v1/system", { signal });
  if (webUi) update(links, "In Temporal’s Web UI: ", Object.entries(webUi.views).map(([name, link], place) => [place > 0 && " · ", outside(link, name)]));
  await refresh();
  repeatedly(EVERY_SECONDS, signal, async () => {
    try {
      await refresh();
    } catch (error) {
      if (!signal.aborted) update(note, failure(error));
    }
  });
}

function row(transaction) {
  return {
    key: transaction.transaction_id,
    cells: [
      h("span", {}, transactionLink(transaction.transaction_id), " ", h("span", { class: "muted" }, transaction.kind ?? "")),
      h("span", {}, standing(transaction), transaction.reason && ` ${transaction.reason.detail}`),
      money(transaction.amount, transaction.currency),
      h("span", {}, accountLink(transaction.debtor), " → ", accountLink(transaction.creditor)),
      time(transaction.waiting_for?.until),
      time(transaction.submitted_at),
      h("span", { class: "buttons" }, buttons(transaction)),
    ],
  };
}
