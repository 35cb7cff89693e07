// One transaction: how it stands, its legs, what an operator may do, and its story.

import { at, get, watch } from "../api.js";
import { buttons, obey } from "../actions.js";
import { facts, failure, h, room, section, table, update } from "../dom.js";
import { accountLink, badge, decimal, money, outside, side, standing, time, transactionLink } from "../format.js";

const AGAIN_MILLISECONDS = 400;
const LEGS = [["Leg", ""], ["Account", ""], ["Outcome", ""], ["Amount", "num end"], ["Balance after", "num end wide"], ["Value date", "num wide"]];

/** The view of the transaction with the first of the ids. */
export async function transaction(root, { signal, ids: [id], title }) {
  let shown = null;
  const heading = h("h1", { tabindex: -1 }, "Transaction");
  const top = h("div", {});
  const actions = h("div", { class: "buttons", role: "group", "aria-label": "What may be done with it" });
  const after = h("div", { "aria-live": "polite" });
  const rest = h("div", { class: "columns" });
  root.append(heading, top, actions, after, rest);

  const { web_ui: webUi } = await get("v1/system", { signal });
  const refresh = async () => {
    const path = at`v1/transactions/${id}`;
    const [found, story] = await Promise.all([get(path, { signal }), get(`${path}/explanation`, { signal })]);
    shown = found;
    const kind = found.reverses ? "Reversal" : capital(found.kind ?? "transaction");
    heading.textContent = found.amount ? `${kind} of ${money(found.amount, found.currency)}` : kind;
    title(`${heading.textContent}, ${found.status}`);
    update(top, summary(found), links(story, webUi, id));
    update(actions, ...buttons(found));
    update(rest, h("div", {}, details(found), legs(found)), h("div", {}, timeline(story)));
  };
  await refresh();

  obey(actions, {
    find: () => shown,
    done: async (answer) => {
      if (answer.transaction_id !== id) {
        update(after, h("p", { class: "notice" }, "The reversal ", transactionLink(answer.transaction_id), ` is ${answer.status}.`));
      }
      await refresh();
      // The button is gone with what it was for.
      if (!actions.contains(document.activeElement)) heading.focus();
    },
  });
  let due = null;
  const soon = () => {
    clearTimeout(due);
    due = setTimeout(() => refresh().catch((error) => !signal.aborted && update(after, failure(error))), AGAIN_MILLISECONDS);
  };
  watch({ transaction_id: id }, { signal, onEvent: soon, onState: (state) => state === "live" && soon() });
}

function summary(found) {
  return h(
    "p",
    { class: "summary" },
    standing(found),
    " ",
    found.waiting_for && ["until ", time(found.waiting_for.until), " "],
    found.reason && h("span", {}, h("code", {}, found.reason.code), `: ${found.reason.detail}`),
  );
}

function links(story, webUi, id) {
  const run = story.workflow;
  const link =
    webUi &&
    (run
      ? webUi.run.replace("{workflow_id}", encodeURIComponent(run.workflow_id)).replace("{run_id}", encodeURIComponent(run.run_id))
      : webUi.transaction.replace("{transaction_id}", encodeURIComponent(id)));
  return h("p", { class: "muted" }, h("span", { class: "id whole" }, id), link && [" ", outside(link, "Workflow in Temporal’s Web UI")]);
}

function details(found) {
  const { fee, rate, approval, override } = found;
  const asked = facts([
    ["From", (found.debtor || found.debtors) && side(found, "debtor")],
    ["To", (found.creditor || found.creditors) && side(found, "creditor")],
    ["Amount", found.amount && money(found.amount, found.currency)],
    ["Fee", fee && money(fee.amount, fee.currency)],
    ["Reference", found.reference],
    ["Remittance information", found.remittance_information],
    ["Rate", rate && `1 ${rate.base} = ${rate.rate} ${rate.quote} (${rate.source}, ${rate.as_of})`],
    ["Converted", rate && `${money(rate.source_amount, rate.base)} to ${money(rate.target_amount, rate.quote)}`],
    ["Taken back so far", Number(found.reversed_amount) > 0 && money(found.reversed_amount, found.currency)],
    ["Takes back", found.reverses && transactionLink(found.reverses)],
    ["Captures from the hold", found.hold_id && h("span", { class: "id" }, found.hold_id)],
    ["Balancing", found.balancing && "takes up to the amount, as far as the balance goes"],
    ["Settled over", found.settlement],
    ["Value date", found.value_date],
    ["Execution date", found.requested_execution_date],
    ["Approval", approval && ["before the ", approval.before, ", until ", time(approval.expires_at)]],
    ["Override", override && `${override.by}: ${override.reason}`],
    ["Submitted by", found.submitted_by],
    ["Submitted", found.submitted_at && time(found.submitted_at, { fraction: true })],
  ]);
  const metadata = Object.entries(found.metadata ?? {});
  return section("What was asked", asked, metadata.length > 0 && [h("h3", {}, "Metadata"), facts(metadata)]);
}

function legs(found) {
  const rows = found.legs.map((leg) => [
    leg.leg,
    accountLink(leg.account_id),
    leg.reason ? h("span", {}, badge(leg.outcome), ` ${leg.reason.detail}`) : badge(leg.outcome),
    money(leg.amount, leg.currency),
    leg.ledger_balance_after ? decimal(leg.ledger_balance_after) : "–",
    leg.value_date,
  ]);
  const place = room();
  place.append(table("Legs", LEGS, rows, { empty: "Nothing is decided yet." }));
  return section("Legs", place);
}

function timeline(story) {
  const moments = story.timeline.map((moment) =>
    h(
      "li",
      { class: `part-${moment.part}${moment.detail.failed ? " failed" : ""}` },
      h("span", { class: "when num" }, time(moment.at, { fraction: true })),
      h("span", { class: "who" }, moment.part),
      h("span", { class: "what" }, moment.what),
    ),
  );
  const waits = story.workflow?.waits_for;
  return section(
    "Its story",
    h("ol", { class: "timeline" }, moments),
    waits && h("p", { class: "notice" }, `The workflow waits: ${waits}`),
    story.gaps.map((gap) => h("p", { class: "muted" }, `Not told: ${gap}`)),
    story.reversed_by.length > 0 && h("p", {}, "Taken back by ", story.reversed_by.map((each, place) => [place > 0 && ", ", transactionLink(each)])),
  );
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
