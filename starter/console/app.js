// The console: who is asking, and which view is shown. Each view is a module that fills the main region and stops when it is left.

import { get, key } from "./api.js";
import { failure, h } from "./dom.js";
import { account } from "./views/account.js";
import { accounts } from "./views/accounts.js";
import { attention } from "./views/attention.js";
import { consumers } from "./views/consumers.js";
import { overview } from "./views/overview.js";
import { signIn } from "./views/sign_in.js";
import { transaction } from "./views/transaction.js";
import { transactions } from "./views/transactions.js";

const VIEWS = [
  [/^\/$/, overview],
  [/^\/transactions$/, transactions],
  [/^\/transactions\/([^/]+)$/, transaction],
  [/^\/accounts$/, accounts],
  [/^\/accounts\/([^/]+)$/, account],
  [/^\/attention$/, attention],
  [/^\/consumers$/, consumers],
];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const main = document.getElementById("main");
const top = document.getElementById("top");
let leaving = new AbortController();
let shown = null;

/** The key that came with the address, which is taken out of it at once: an address is kept in the history, and is read aloud. */
function takeKey() {
  const given = /^#key=([^&]+)$/.exec(location.hash);
  if (given === null) return;
  key.set(decodeURIComponent(given[1]));
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
}

async function show({ refused = null } = {}) {
  takeKey();
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, search = ""] = (location.hash.slice(1) || "/").split("?", 2);
  const first = shown === null;
  shown = path;
  top.hidden = key.get() === null;
  if (key.get() === null) {
    signIn(main, { refused, signedIn: () => show() });
    title("Sign in");
    return;
  }
  markCurrent(path);
  const [found, view] = VIEWS.map(([pattern, each]) => [pattern.exec(path), each]).find(([match]) => match !== null) ?? [null, null];
  const root = h("div", { class: "view" });
  main.replaceChildren(root);
  main.setAttribute("aria-busy", "true");
  if (view === null) {
    root.append(h("h1", { tabindex: -1 }, "There is no such view"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  } else {
    const context = { signal, query: new URLSearchParams(search), ids: found.slice(1).map(decodeURIComponent), title };
    try {
      await view(root, context);
    } catch (error) {
      if (signal.aborted) return;
      if (root.querySelector("h1") === null) root.prepend(h("h1", { tabindex: -1 }, "This can't be shown"));
      root.append(failure(error));
    }
  }
  if (signal.aborted) return;
  main.removeAttribute("aria-busy");
  main.dataset.view = location.hash;
  const heading = root.querySelector("h1");
  title(heading?.textContent ?? "");
  // Whoever goes from view to view with the keyboard, or listens, begins at its heading. The page's first view begins at its top.
  if (!first) {
    heading?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function title(text) {
  document.title = text ? `${text} – casaflow` : "casaflow console";
}

function markCurrent(path) {
  for (const link of document.querySelectorAll("#views a")) {
    const target = link.getAttribute("href").slice(1);
    const current = target === "/" ? path === "/" : path === target || path.startsWith(`${target}/`);
    if (current) link.setAttribute("aria-current", path === target ? "page" : "true");
    else link.removeAttribute("aria-current");
  }
}

function forget(refused = null) {
  key.forget();
  document.getElementById("tenant").textContent = "";
  show({ refused });
}

/** Whose key it is stands beside the name, so that nobody acts for the wrong bank. */
async function sayWhoseKey() {
  if (key.get() === null) return;
  try {
    const { tenant, principal } = await get("v1/system");
    document.getElementById("tenant").textContent = `${tenant}, as ${principal}`;
  } catch {
    // The view says what is the matter.
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  // The address's fragment names the view.
  event.preventDefault();
  main.focus();
});
document.getElementById("leave").addEventListener("click", () => forget());
document.getElementById("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get("id").trim();
  if (!id) return;
  event.target.reset();
  location.hash = `#/${UUID.test(id) ? "transactions" : "accounts"}/${encodeURIComponent(id)}`;
});
document.addEventListener("key-refused", (event) => {
  if (key.get() !== null) forget(event.detail);
});
document.addEventListener("key-given", sayWhoseKey);
addEventListener("hashchange", () => {
  if (location.hash !== "#main") show();
});
takeKey();
sayWhoseKey();
show();
