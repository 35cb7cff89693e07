// What an operator may do with a transaction: each is asked for in a dialog, with a reason, and an error is shown where it was asked.

import { at, newId, post } from "./api.js";
import { h, say } from "./dom.js";
import { money, transactionLink } from "./format.js";

const WAIT_SECONDS = 10;
const LONGEST_REASON = 140;
const LONGEST_REFERENCE = 35;

const REASON = { name: "reason", label: "Reason", maxlength: LONGEST_REASON };
const NEEDED_REASON = { ...REASON, required: true };

export const ACTIONS = {
  approve: { label: "Approve", does: "It goes on, and is posted. Who submitted it can't approve it.", fields: [REASON] },
  decline: { label: "Decline", does: "Nothing is posted, and what was posted is taken back.", fields: [REASON], danger: true },
  cancel: { label: "Cancel", does: "It ends as rejected; nothing is posted.", fields: [REASON], danger: true },
  retry: { label: "Retry", does: "It tries again what it is parked at.", fields: [NEEDED_REASON] },
  settle: {
    label: "Settle",
    does: "Another account gets the money instead of the creditor.",
    fields: [{ name: "creditor", label: "Account that gets the money", maxlength: 34, required: true }, NEEDED_REASON],
  },
  "reverse-parked": { label: "Reverse", path: "reverse", does: "The debtor gets the money back, and it ends as reversed.", fields: [NEEDED_REASON], danger: true },
  reverse: {
    label: "Reverse",
    does: "A transaction of its own takes it back. Without an amount, all that is left of it; a fee is kept.",
    fields: [
      { name: "amount", label: "Amount, unless all of it", inputmode: "decimal", maxlength: 20 },
      { name: "reference", label: "Reason, which becomes the reversal's reference", maxlength: LONGEST_REFERENCE, required: true },
    ],
    danger: true,
  },
};

/** Names of the actions that may apply to a transaction as it stands. The API decides whether they do. */
export function possible(transaction) {
  const { status, waiting_for: waits } = transaction;
  if (waits?.what === "approval") return ["approve", "decline", "cancel"];
  if (waits) return ["cancel"];
  if (status === "parked") return ["retry", ...(transaction.kind === "transfer" || !transaction.kind ? ["settle", "reverse-parked"] : [])];
  const left = Number(transaction.amount) - Number(transaction.reversed_amount ?? 0);
  return status === "completed" && !transaction.reverses && left > 0 ? ["reverse"] : [];
}

/** Buttons for the actions; {@link obey} is asked by whoever listens for clicks around them. */
export function buttons(transaction) {
  const id = transaction.transaction_id;
  return possible(transaction).map((name) =>
    h(
      "button",
      { type: "button", "data-action": name, "data-id": id, class: ACTIONS[name].danger ? "danger" : null },
      ACTIONS[name].label,
      h("span", { class: "hidden" }, ` ${id.slice(0, 8)}`),
    ),
  );
}

/** Listen for clicks on {@link buttons} anywhere within an element; `done` is called once something was done. */
export function obey(element, { find, done }) {
  element.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-action]");
    const transaction = button && find(button.dataset.id);
    if (!transaction) return;
    const answer = await ask(button.dataset.action, transaction);
    if (answer !== null) await done(answer);
  });
}

/** Ask for what an action needs, carry it out, and return the API's answer; null when it was given up. */
function ask(name, transaction) {
  const action = ACTIONS[name];
  const id = transaction.transaction_id;
  // One key for one dialog: the same button twice is the same request.
  const idempotencyKey = name === "reverse" ? newId() : undefined;
  const inputs = action.fields.map(({ name: field, label, ...attributes }) => [
    h("label", { for: `ask-${field}` }, label, !attributes.required && h("span", { class: "muted" }, " (optional)")),
    h("input", { id: `ask-${field}`, name: field, autocomplete: "off", ...attributes }),
  ]);
  const error = h("p", { class: "failure", role: "alert", hidden: true });
  const carryOut = h("button", { type: "submit", class: action.danger ? "danger main" : "main" }, action.label);
  const giveUp = h("button", { type: "button" }, "Don’t");
  const what = transaction.amount ? `${transaction.kind ?? "transaction"} of ${money(transaction.amount, transaction.currency)}` : "transaction";
  const form = h(
    "form",
    {},
    h("h2", { id: "ask-heading" }, `${action.label} this ${what}?`),
    h("p", {}, transactionLink(id, { whole: true })),
    h("p", { id: "ask-does" }, action.does),
    inputs,
    error,
    h("div", { class: "buttons" }, carryOut, giveUp),
  );
  const dialog = h("dialog", { "aria-labelledby": "ask-heading", "aria-describedby": "ask-does" }, form);
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const body = Object.fromEntries([...new FormData(form)].map(([field, value]) => [field, value.trim()]).filter(([, value]) => value));
      carryOut.disabled = true;
      error.hidden = true;
      try {
        answer = await post(`${at`v1/transactions/${id}`}/${action.path ?? name}`, body, { wait: WAIT_SECONDS, idempotencyKey });
        say(`${action.label}: done. The ${answer.reverses ? "reversal" : "transaction"} is ${answer.status}.`);
        dialog.close();
      } catch (problem) {
        error.textContent = problem.message;
        error.hidden = false;
        carryOut.disabled = false;
        carryOut.focus();
      }
    });
    giveUp.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
