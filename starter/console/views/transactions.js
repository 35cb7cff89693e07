// Transactions as they happen, and those that were.

import { get, watch } from "../api.js";
import { failure, h, room, say, table, tableRow } from "../dom.js";
import { accountLink, badge, money, outside, side, standing, time, transactionLink } from "../format.js";

const STATUSES = ["processing", "parked", "completed", "rejected", "reversed"];
const PAGE = 50;
const MOST_ROWS = 200;
const RENDER_MILLISECONDS = 500;
const SAY_MILLISECONDS = 10_000;
const FINISHED = /^casaflow\.accounting\.transaction-/;
const COLUMNS = [
  ["Submitted", "num"],
  ["Transaction", ""],
  ["Status", ""],
  ["Amount", "num end"],
  ["From", "wide"],
  ["To", "wide"],
  ["Reference", "wide grow"],
  ["Workflow", "wide"],
];

/** The view: filters, what is found, and on top of it what happens meanwhile. */
export async function transactions(root, { signal, query }) {
  const filters = Object.fromEntries([...query].filter(([, value]) => value !== ""));
  const list = room();
  const state = h("p", { class: "muted live" });
  const pause = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Pause");
  const more = h("button", { type: "button", hidden: true }, "Older ones");
  root.append(
    h("h1", { tabindex: -1 }, "Transactions"),
    filterForm(filters),
    h("div", { class: "bar" }, state, pause),
    list,
    more,
  );
  const system = await get("v1/system", { signal });
  const row = (transaction) => transactionRow(transaction, system.web_ui);

  let cursor = null;
  const page = async () => {
    const found = await get("v1/transactions", { query: { ...asked(filters), limit: PAGE, cursor }, signal });
    cursor = found.next_cursor;
    more.hidden = cursor === null;
    return found.transactions;
  };
  const found = await page();
  list.append(table("Transactions, the newest first", COLUMNS, found.map(row), { empty: "There is none.", kind: "entries" }));
  more.addEventListener("click", async () => {
    try {
      const next = await page();
      body(list)?.append(...next.map((each) => tableRow(COLUMNS, row(each))));
      say(`${next.length} more transactions`);
    } catch (error) {
      if (!signal.aborted) more.before(failure(error));
    }
  });
  follow({ list, state, pause, filters, row, signal });
}

/** Put what finishes on top of the list, unless it is paused, or somebody is at work in it. */
function follow({ list, state, pause, filters, row, signal }) {
  const narrow = Object.keys(filters).filter((name) => !["account_id", "status"].includes(name));
  if (narrow.length > 0 || ["processing", "parked"].includes(filters.status)) {
    state.textContent = "As found; with these filters the list does not follow what happens.";
    pause.hidden = true;
    return;
  }
  const waiting = [];
  let paused = false;
  let connection = "connecting";
  let unsaid = 0;
  const busy = () => paused || list.contains(document.activeElement) || (getSelection()?.toString() ?? "") !== "";
  const render = () => {
    state.textContent = connection !== "live" ? `Not live: ${connection}.` : waiting.length ? `Live; ${waiting.length} new, held back.` : "Live.";
    state.classList.toggle("on", connection === "live");
    if (waiting.length === 0 || busy()) return;
    if (body(list) === null) list.replaceChildren(table("Transactions, the newest first", COLUMNS, [COLUMNS.map(() => "")], { kind: "entries" }));
    const rows = body(list);
    for (const transaction of waiting.splice(0)) {
      rows.querySelector(`[data-key="${CSS.escape(transaction.transaction_id)}"]`)?.remove();
      const added = tableRow(COLUMNS, row(transaction));
      added.classList.add("fresh");
      rows.prepend(added);
      unsaid += 1;
    }
    for (const old of [...rows.children].slice(MOST_ROWS)) old.remove();
    rows.querySelector("tr:not([data-key])")?.remove();
    render();
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    render();
  });
  const rendering = setInterval(render, RENDER_MILLISECONDS);
  const saying = setInterval(() => {
    if (unsaid > 0) say(`${unsaid} transactions have finished`);
    unsaid = 0;
  }, SAY_MILLISECONDS);
  signal.addEventListener("abort", () => {
    clearInterval(rendering);
    clearInterval(saying);
  });
  watch(
    { account_id: filters.account_id },
    {
      signal,
      onState: (told) => {
        connection = told;
      },
      onEvent: (event) => {
        if (!FINISHED.test(event.type)) return;
        const transaction = ofEvent(event.data);
        if (filters.status && transaction.status !== filters.status) return;
        waiting.push(transaction);
        // Of a flood only the newest fit into the list.
        if (waiting.length > MOST_ROWS) waiting.shift();
      },
    },
  );
}

/** A finished transaction's event as the API gives the transaction. */
function ofEvent({ instruction, status, reason }) {
  const shares = instruction.shares?.map((each) => ({ [instruction.reverses ? "debtor" : "creditor"]: each.account_id }));
  return {
    ...instruction,
    status,
    reason,
    amount: instruction.instructed.value,
    currency: instruction.instructed.currency,
    [instruction.reverses ? "debtors" : "creditors"]: shares,
  };
}

/** One transaction as a row of {@link COLUMNS}. */
function transactionRow(transaction, webUi) {
  const { transaction_id: id, reason } = transaction;
  const link = webUi?.transaction.replace("{transaction_id}", encodeURIComponent(id));
  const status = reason ? h("span", { title: reason.detail }, badge(transaction.status)) : standing(transaction);
  const ways = [transaction.debtor && ["from ", accountLink(transaction.debtor)], transaction.creditor && [" to ", accountLink(transaction.creditor)]];
  return {
    key: id,
    cells: [
      time(transaction.submitted_at),
      h("span", {}, transactionLink(id), " ", h("span", { class: "muted" }, transaction.kind ?? ""), h("span", { class: "narrow" }, ways)),
      status,
      money(transaction.amount, transaction.currency),
      side(transaction, "debtor"),
      side(transaction, "creditor"),
      h("span", { class: "clip", title: transaction.reference }, transaction.reference ?? ""),
      link ? outside(link, "Temporal", `Workflow of ${id.slice(0, 8)} in Temporal's Web UI`) : "–",
    ],
  };
}

function body(list) {
  return list.querySelector("tbody");
}

/** What the API is asked, of the filters in the address: times there are of the reader's time zone. */
function asked({ submitted_from: from, submitted_to: to, ...rest }) {
  const instant = (local) => (local ? new Date(local).toISOString() : undefined);
  return { ...rest, submitted_from: instant(from), submitted_to: instant(to) };
}

function filterForm(filters) {
  const field = (name, label, attributes = {}) => [
    h("label", { for: `filter-${name}` }, label),
    h("input", { id: `filter-${name}`, name, value: filters[name] ?? "", autocomplete: "off", ...attributes }),
  ];
  const status = h(
    "select",
    { id: "filter-status", name: "status" },
    h("option", { value: "" }, "any"),
    STATUSES.map((each) => h("option", { value: each, selected: filters.status === each }, each)),
  );
  const form = h(
    "form",
    {
      class: "filters",
      on: {
        submit: (event) => {
          event.preventDefault();
          const given = [...new FormData(form)].filter(([, value]) => value !== "");
          location.hash = given.length ? `#/transactions?${new URLSearchParams(given)}` : "#/transactions";
        },
      },
    },
    h("div", {}, field("account_id", "Account")),
    h("div", {}, h("label", { for: "filter-status" }, "Status"), status),
    h("div", {}, field("reference", "Reference", { maxlength: 35 })),
    h("div", {}, field("currency", "Currency", { maxlength: 3, pattern: "[A-Z]{3}", title: "Three capital letters, such as EUR", class: "short" })),
    h("div", {}, field("amount_min", "Amount from", { inputmode: "decimal", class: "short" })),
    h("div", {}, field("amount_max", "to", { inputmode: "decimal", class: "short" })),
    h("div", {}, field("submitted_from", "Submitted from", { type: "datetime-local" })),
    h("div", {}, field("submitted_to", "before", { type: "datetime-local" })),
    h("div", { class: "buttons" }, h("button", { type: "submit" }, "Filter"), h("a", { href: "#/transactions" }, "Clear")),
  );
  const used = Object.keys(filters).length > 0;
  return h("details", { open: used, class: "card" }, h("summary", {}, "Filters"), form);
}
