// Asks for the key.

import { key } from "../api.js";
import { h } from "../dom.js";

/** Show the form; `signedIn` is called once a key was given. */
export function signIn(root, { refused, signedIn }) {
  const input = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": refused ? "key-help key-refused" : "key-help",
    "aria-invalid": refused ? "true" : null,
  });
  const form = h(
    "form",
    {
      class: "card sign-in",
      on: {
        submit: (event) => {
          event.preventDefault();
          key.set(input.value.trim());
          document.dispatchEvent(new CustomEvent("key-given"));
          signedIn();
        },
      },
    },
    h("h1", {}, "casaflow console"),
    refused && h("p", { class: "failure", role: "alert", id: "key-refused" }, `The key was refused: ${refused}`),
    h("label", { for: "key" }, "API key"),
    input,
    h(
      "p",
      { id: "key-help", class: "muted" },
      "It is kept in this tab alone, until you close it. For the stack on this machine, ",
      h("code", {}, "casaflow console"),
      " prints a link that brings its key along.",
    ),
    h("button", { type: "submit", class: "main" }, "Open the console"),
  );
  root.replaceChildren(h("div", { class: "view" }, form));
  input.focus();
}
