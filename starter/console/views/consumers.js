// The consumer groups: how far each is, and what it holds back.

import { get, repeatedly } from "../api.js";
import { facts, failure, h, room, section, table, update } from "../dom.js";
import { badge, count, seconds } from "../format.js";

const EVERY_SECONDS = 3;
const COLUMNS = [["Group", ""], ["Lag", "num end"], ["Held back", "num end"], ["Failed", "num end wide"], ["Behind one", "num end wide"], ["Unreadable", "num end wide"], ["See", "wide grow"]];

/** The groups of an answer of the API as a table, for this view and for the overview. */
export function groupTable(groups) {
  return table("Consumer groups, with records that each has still to apply and events that it holds back", COLUMNS, groups.map(row), {
    empty: "No group runs here.",
  });
}

/** The view. */
export async function consumers(root, { signal }) {
  const groups = room();
  const outbox = h("div", {});
  const trouble = h("div", { "aria-live": "polite" });
  root.append(
    h("h1", { tabindex: -1 }, "Consumers"),
    trouble,
    section(
      "Groups",
      h("p", { class: "muted" }, "Lag: records on its topics that a group has not applied yet, by its own store."),
      groups,
    ),
    section("Outbox", h("p", { class: "muted" }, "Events that were stored with their postings, and wait to be published."), outbox),
  );
  const refresh = async () => {
    const system = await get("v1/system", { signal });
    update(groups, system.groups ? groupTable(system.groups) : h("p", { class: "failure" }, `Unknown: ${system.parts.kafka}`));
    update(outbox, system.outbox && outboxFacts(system.outbox));
    update(trouble);
  };
  await refresh();
  repeatedly(EVERY_SECONDS, signal, async () => {
    try {
      await refresh();
    } catch (error) {
      if (!signal.aborted) update(trouble, failure(error));
    }
  });
}

/** What waits to be published. */
function outboxFacts(outbox) {
  return facts([
    ["Waiting", count(outbox.events)],
    ["The oldest", outbox.events > 0 ? seconds(outbox.oldest_seconds) : "none waits"],
  ]);
}

function row(group) {
  const held = group.failed + group.waiting + group.unreadable;
  return {
    key: group.group,
    cells: [
      h("span", { class: "id" }, group.group),
      count(group.records),
      held > 0 ? h("span", {}, badge("failed"), ` ${count(held)}`) : "0",
      count(group.failed),
      count(group.waiting),
      count(group.unreadable),
      held > 0 ? h("code", {}, `casaflow events dead-letters ${group.group}`) : "",
    ],
  };
}
