// One account: what it has, how that comes about, its rules, its holds and its statement.

import { at, get, watch } from "../api.js";
import { facts, failure, h, room, say, section, table, tableRow, update } from "../dom.js";
import { accountLink, badge, decimal, money, time, transactionLink } from "../format.js";
import { split } from "../split.js";

const AGAIN_MILLISECONDS = 500;
const LINES = 25;
const STATEMENT = [["Booked", "num"], ["Transaction", ""], ["Counterparty", "wide"], ["Reference", "wide grow"], ["Amount", "num end"], ["Balance", "num end"], ["Value date", "num wide"]];
const HOLDS = [["Hold", ""], ["Status", ""], ["Holds", "num end"], ["Of", "num end wide"], ["Expires", "num"], ["Reference", "wide grow"]];

/** The view of the account with the first of the ids. */
export async function account(root, { signal, ids: [id] }) {
  const path = at`v1/accounts/${id}`;
  const top = h("div", {});
  const picture = h("div", { class: "card" });
  const rules = h("div", {});
  const holds = room();
  const statement = room();
  const more = h("button", { type: "button", hidden: true }, "Earlier lines");
  const trouble = h("div", { "aria-live": "polite" });
  root.append(
    h("h1", { tabindex: -1 }, "Account ", h("span", { class: "id" }, id)),
    top,
    trouble,
    h("div", { class: "columns" }, section("Balance", picture), section("Rules", rules)),
    section("Statement", statement, more),
    section("Holds", holds),
  );

  let cursor = null;
  const lines = async (from) => {
    const page = await get(`${path}/statement`, { query: from ? { cursor: from } : { limit: LINES, order: "newest-first" }, signal });
    cursor = page.next_cursor;
    more.hidden = cursor === null;
    return page.lines.map(lineRow);
  };
  let pagesShown = 1;
  const refresh = async () => {
    const [found, balance, held] = await Promise.all([
      get(path, { signal }),
      get(`${path}/balance`, { signal }),
      get("v1/holds", { query: { account_id: id, limit: LINES }, signal }),
    ]);
    update(top, h("p", { class: "summary" }, badge(found.status), ` ${found.kind} account in ${found.currency}, opened `, time(found.opened_at), ". ", transactionsOf(id)));
    update(picture, split(balance, found.overdraft_limit));
    update(rules, ruleFacts(found));
    update(holds, table("Holds, the newest first", HOLDS, held.holds.map(holdRow), { empty: "Nothing is held." }));
    // Whoever reads earlier lines keeps them as they are.
    if (pagesShown === 1) update(statement, table("Statement, the newest line first", STATEMENT, await lines(null), { empty: "Nothing is booked yet.", kind: "entries booked" }));
  };
  await refresh();

  more.addEventListener("click", async () => {
    try {
      const added = await lines(cursor);
      pagesShown += 1;
      statement.querySelector("tbody").append(...added.map((row) => tableRow(STATEMENT, row)));
      say(`${added.length} earlier lines`);
    } catch (error) {
      if (!signal.aborted) update(trouble, failure(error));
    }
  });
  let due = null;
  const soon = () => {
    due ??= setTimeout(async () => {
      due = null;
      await refresh().catch((error) => !signal.aborted && update(trouble, failure(error)));
    }, AGAIN_MILLISECONDS);
  };
  watch({ account_id: id }, { signal, onEvent: soon, onState: (state) => state === "live" && soon() });
}

function transactionsOf(id) {
  return h("a", { href: `#/transactions?account_id=${encodeURIComponent(id)}` }, "Its transactions");
}

function ruleFacts(found) {
  const limit = (name) => found[name] && Number(found[name]) !== 0 && money(found[name], found.currency);
  const told = [
    ["Overdraft limit", limit("overdraft_limit")],
    ["Minimum balance", limit("minimum_balance")],
    ["Maximum balance", limit("maximum_balance")],
    ["Of one debit, at most", limit("transaction_limit")],
    ["Of a day's debits", limit("daily_limit")],
    ["Of a month's debits", limit("monthly_limit")],
  ];
  const days = (found.daily_limit || found.monthly_limit) && ["Days and months of", found.time_zone];
  return told.some(([, value]) => value) ? facts([...told, ...(days ? [days] : [])]) : h("p", { class: "muted" }, "No overdraft, no minimum, no limits.");
}

function lineRow(line) {
  const sign = line.direction === "debit" ? "−" : "+";
  return {
    key: `${line.transaction_id}/${line.leg}`,
    cells: [
      time(line.booked_at),
      h(
        "span",
        {},
        transactionLink(line.transaction_id),
        " ",
        h("span", { class: "muted" }, line.leg),
        line.counterparty && h("span", { class: "narrow" }, accountLink(line.counterparty)),
      ),
      accountLink(line.counterparty),
      h("span", { class: "clip", title: line.remittance_information }, line.reference ?? line.remittance_information ?? ""),
      h("span", { class: line.direction }, `${sign}\u2009${decimal(line.amount)}`),
      h("span", { class: line.settled ? null : "provisional", title: line.settled ? null : "may still move" }, decimal(line.ledger_balance_after)),
      line.value_date,
    ],
  };
}

function holdRow(hold) {
  return {
    key: hold.hold_id,
    cells: [
      h("span", { class: "id", title: hold.hold_id }, hold.hold_id.slice(0, 8)),
      badge(hold.status),
      money(hold.remaining, hold.currency),
      money(hold.amount, hold.currency),
      time(hold.expires_at),
      h("span", { class: "clip" }, hold.reference ?? ""),
    ],
  };
}
