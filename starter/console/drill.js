// Kills a worker process while deposits are made, and counts what becomes of each of them.

import { get, newId, pause, post } from "./api.js";
import { h, say, update } from "./dom.js";
import { count, seconds, time } from "./format.js";

const ACCOUNT = "CONSOLE-DRILL";
const AMOUNT = "0.01";
const CURRENCY = "EUR";
const SENDERS = 4;
const BETWEEN_SECONDS = 0.05;
const AGAIN_SECONDS = 0.5;
const WAIT_SECONDS = 20;
const LEAD_SECONDS = 2;
const LONGEST_SECONDS = 60;
const SETTLE_SECONDS = 2;
const SHOW_MILLISECONDS = 250;

/** The section with the button. `signal` ends what is under way when the view is left. */
export function drill(signal) {
  const button = h("button", { type: "button", class: "danger" }, "Kill a worker");
  const shown = h("div", { class: "drill" });
  button.addEventListener("click", async () => {
    if (!(await confirmed())) return;
    button.disabled = true;
    shown.replaceChildren();
    try {
      await run(shown, signal);
    } catch (error) {
      if (!signal.aborted) shown.append(h("p", { class: "failure", role: "alert" }, error.message));
    }
    button.disabled = false;
  });
  return [
    h("p", {}, "Kill a worker process of this stack, as a machine that fails would, and see what becomes of the transactions meanwhile."),
    h("div", { class: "buttons" }, button),
    shown,
  ];
}

function confirmed() {
  const yes = h("button", { type: "button", class: "danger main" }, "Kill it");
  const no = h("button", { type: "button" }, "Don’t");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "drill-heading", "aria-describedby": "drill-does" },
    h("h2", { id: "drill-heading" }, "Kill a worker?"),
    h(
      "p",
      { id: "drill-does" },
      `One worker process gets SIGKILL. Meanwhile this page deposits ${AMOUNT} ${CURRENCY} again and again on the account ${ACCOUNT} of this key’s tenant, and counts them. The stack starts the worker again.`,
    ),
    h("div", { class: "buttons" }, yes, no),
  );
  return new Promise((resolve) => {
    let answer = false;
    yes.addEventListener("click", () => {
      answer = true;
      dialog.close();
    });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function run(shown, signal) {
  const tally = { submitted: 0, completed: 0, other: 0, retried: 0, killed: null, back: null, worker: null, before: null, after: null, ending: false };
  const figures = h("div", {});
  const story = h("ol", { class: "story" });
  shown.append(figures, story);
  const tell = (text) => {
    story.append(h("li", {}, time(new Date().toISOString()), ` ${text}`));
    say(text);
  };
  const showing = setInterval(() => update(figures, tallied(tally)), SHOW_MILLISECONDS);
  signal.addEventListener("abort", () => clearInterval(showing));
  try {
    await post("v1/accounts", { account_id: ACCOUNT, currency: CURRENCY }, { signal });
    tally.before = await credited(signal);
    tell("Deposits begin.");
    const senders = Array.from({ length: SENDERS }, () => send(tally, signal));
    await pause(LEAD_SECONDS, signal);
    await killAndWait(tally, tell, signal);
    await pause(SETTLE_SECONDS, signal);
    tally.ending = true;
    await Promise.all(senders);
    tally.after = await credited(signal);
    tell(verdict(tally));
  } finally {
    tally.ending = true;
    clearInterval(showing);
    update(figures, tallied(tally));
  }
}

async function killAndWait(tally, tell, signal) {
  const killed = await post("v1/system/workers/kill", undefined, { signal });
  tally.worker = killed;
  tally.killed = performance.now();
  tell(`Killed ${killed.name}, process ${killed.pid}.`);
  while ((performance.now() - tally.killed) / 1000 < LONGEST_SECONDS) {
    await pause(AGAIN_SECONDS, signal);
    if (signal.aborted) return;
    const { stack } = await get("v1/system", { signal });
    const now = stack?.find((part) => part.name === killed.name);
    if (now?.health === "healthy" && now.pid !== killed.pid) {
      tally.back = performance.now();
      tell(`${killed.name} is back as process ${now.pid} after ${seconds((tally.back - tally.killed) / 1000)}.`);
      return;
    }
  }
  throw new Error(`${killed.name} was not back within ${LONGEST_SECONDS} s`);
}

/** One deposit after the other, each until its outcome is known: what got no answer is sent again, with the same id. */
async function send(tally, signal) {
  while (!tally.ending && !signal.aborted) {
    const deposit = { transaction_id: newId(), creditor: ACCOUNT, amount: AMOUNT, currency: CURRENCY, reference: "Console drill" };
    tally.submitted += 1;
    for (;;) {
      const answer = await attempt(deposit, signal);
      if (signal.aborted) return;
      if (answer !== null) {
        tally[answer === "completed" ? "completed" : "other"] += 1;
        break;
      }
      tally.retried += 1;
      await pause(AGAIN_SECONDS, signal);
    }
    await pause(BETWEEN_SECONDS, signal);
  }
}

/** The status of a deposit once it is final; null while it is not known. */
async function attempt(deposit, signal) {
  try {
    const { status } = await post("v1/transactions", deposit, { wait: WAIT_SECONDS, signal });
    return status === "processing" || status === "parked" ? null : status;
  } catch (error) {
    if (signal.aborted || error.passes) return null;
    throw error;
  }
}

async function credited(signal) {
  const { offline } = await get(`v1/accounts/${ACCOUNT}/balance`, { signal });
  return cents(offline);
}

function cents(amount) {
  return BigInt(amount.replace(".", ""));
}

function verdict(tally) {
  const booked = (tally.after - tally.before) / cents(AMOUNT);
  const whole = booked === BigInt(tally.completed) && tally.submitted === tally.completed + tally.other;
  return whole
    ? `Nothing is lost, and nothing was booked twice: ${count(tally.submitted)} deposits were submitted, and the account has ${count(booked)} more.`
    : `The account has ${count(booked)} more deposits, where ${count(tally.completed)} were completed. Somebody else may have run this at the same time.`;
}

function tallied(tally) {
  const finished = tally.completed + tally.other;
  const tile = (name, value) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", { class: "num" }, value));
  return h(
    "dl",
    { class: "tiles sum" },
    tile("Submitted", count(tally.submitted)),
    tile("= finished", count(finished)),
    tile("+ under way", count(tally.submitted - finished)),
    tile("Asked again", count(tally.retried)),
    tile("Worker", tally.killed === null ? "runs" : tally.back === null ? "is dead" : "is back"),
  );
}
