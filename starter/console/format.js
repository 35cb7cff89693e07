// How amounts, times and statuses are written.

import { h } from "./dom.js";

const GROUP = "\u202f";

/** A decimal string with its thousands set apart; never by way of a floating-point number, which could not hold every amount. */
export function decimal(text) {
  const [, sign, whole, rest] = /^(-?)(\d+)(.*)$/.exec(text) ?? [null, "", text, ""];
  return (sign ? "\u2212" : "") + whole.replace(/\B(?=(\d{3})+$)/g, GROUP) + rest;
}

/** An amount with its currency, or a dash. */
export function money(amount, currency) {
  return amount === null || amount === undefined ? "–" : `${decimal(amount)}\u00a0${currency ?? ""}`.trim();
}

/** An instant, in the reader's time zone: the time alone for today. The tooltip has all of it. */
export function time(instant, { fraction = false } = {}) {
  if (!instant) return "–";
  const at = new Date(instant);
  const today = at.toDateString() === new Date().toDateString();
  const clock = at.toLocaleTimeString("en-GB", { hour12: false }) + (fraction ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : "");
  return h("time", { datetime: instant, title: instant }, today ? clock : `${day(at)} ${clock}`);
}

function day(at) {
  const two = (number) => String(number).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** A whole number. */
export function count(number) {
  return decimal(String(number));
}

/** Milliseconds as a person reads them. */
export function took(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : seconds(milliseconds / 1000);
}

/** Seconds as a person reads them. */
export function seconds(number) {
  if (number < 60) return `${number < 10 ? number.toFixed(1) : Math.round(number)} s`;
  return number < 3600 ? `${Math.round(number / 60)} min` : `${(number / 3600).toFixed(1)} h`;
}

const MOODS = {
  completed: "good",
  posted: "good",
  active: "good",
  ready: "good",
  healthy: "good",
  open: "good",
  rejected: "bad",
  refused: "bad",
  failed: "bad",
  parked: "bad",
  frozen: "bad",
  reversed: "warn",
  restarting: "warn",
  starting: "warn",
  processing: "busy",
  waiting: "warn",
};

/** A status in words, with a colour and a mark that say the same. */
export function badge(status) {
  const mood = MOODS[status] ?? (status.endsWith("frozen") ? "bad" : "plain");
  return h("span", { class: `badge ${mood}` }, status);
}

/** How a transaction stands, with what it waits for. */
export function standing(transaction) {
  const waits = transaction.waiting_for;
  if (!waits) return badge(transaction.status);
  return h("span", { class: "badge warn" }, waits.what === "approval" ? "waits for approval" : "waits for its date");
}

/** The first characters of an id, as a link to its view. */
export function transactionLink(id, { whole = false } = {}) {
  return h("a", { href: `#/transactions/${encodeURIComponent(id)}`, class: "id", title: id }, whole ? id : id.slice(0, 8));
}

/** A link to an account's view, or a dash. */
export function accountLink(id) {
  return id ? h("a", { href: `#/accounts/${encodeURIComponent(id)}`, class: "id" }, id) : "–";
}

/** The accounts on one side of a transaction. */
export function side(transaction, name) {
  const several = transaction[`${name}s`];
  if (!several) return accountLink(transaction[name]);
  return h("span", {}, several.map((each, place) => [place > 0 && ", ", accountLink(each[name])]));
}

/** A link out of the console, such as into Temporal's Web UI. */
export function outside(href, text, label = null) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer", "aria-label": label, class: "out" }, text);
}
