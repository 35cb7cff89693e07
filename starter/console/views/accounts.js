// Accounts by the beginning of their ids.

import { get } from "../api.js";
import { failure, h, room, say, table, tableRow } from "../dom.js";
import { accountLink, badge, time } from "../format.js";

const PAGE = 50;
const COLUMNS = [["Account", ""], ["Currency", ""], ["Kind", ""], ["Status", ""], ["Opened", "num wide"]];

/** The view: a field for the prefix, and a page of accounts. */
export async function accounts(root, { signal, query }) {
  const prefix = query.get("prefix") ?? "";
  const form = h(
    "form",
    {
      class: "filters card",
      on: {
        submit: (event) => {
          event.preventDefault();
          const given = new FormData(form).get("prefix").trim();
          location.hash = given ? `#/accounts?prefix=${encodeURIComponent(given)}` : "#/accounts";
        },
      },
    },
    h("div", {}, h("label", { for: "prefix" }, "The id begins with"), h("input", { id: "prefix", name: "prefix", value: prefix, autocomplete: "off", maxlength: 34 })),
    h("div", { class: "buttons" }, h("button", { type: "submit" }, "Find")),
  );
  const list = room();
  const more = h("button", { type: "button", hidden: true }, "More");
  root.append(h("h1", { tabindex: -1 }, "Accounts"), form, list, more);
  let cursor = null;
  const page = async () => {
    const found = await get("v1/accounts", { query: { prefix, limit: PAGE, cursor }, signal });
    cursor = found.next_cursor;
    more.hidden = cursor === null;
    return found.accounts.filter((each) => each.kind !== "internal").map(row);
  };
  list.append(table("Accounts, by their ids", COLUMNS, await page(), { empty: "There is none." }));
  more.addEventListener("click", async () => {
    try {
      const next = await page();
      list.querySelector("tbody")?.append(...next.map((each) => tableRow(COLUMNS, each)));
      say(`${next.length} more accounts`);
    } catch (error) {
      if (!signal.aborted) more.before(failure(error));
    }
  });
}

function row(account) {
  return { key: account.account_id, cells: [accountLink(account.account_id), account.currency, account.kind, badge(account.status), time(account.opened_at)] };
}
