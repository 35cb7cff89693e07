"""The pages of the HTTP API, made from its OpenAPI document: one for each tag, and the first one."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from infra.settings import Settings
from ledger.scopes import Scope, granted
from starter.api.application import create_app
from starter.api.openapi import document, problem_codes_of
from starter.api.problems import MEDIA_TYPE
from tests.contract.reference.docstrings import member_texts
from tests.contract.reference.markdown import anchor, code, page, table
from tests.contract.reference.schemas import Schema, default_of, fields_of, named_in, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_INTRODUCTION: Final = """\
The same as an OpenAPI 3.1 document is at `/openapi.json` of a running API. Amounts are decimal strings in major units beside their ISO 4217
currency, never JSON numbers; instants are RFC 3339, dates `2026-01-31`. Bodies are strict JSON: unknown and repeated fields are refused.

- **Who asks.** `Authorization: Bearer KEY` with every request, but for those that are public. A key belongs to one tenant, and sees
  nothing else.
- **Asking twice** is safe: give the thing an id of your own (`transaction_id`, `hold_id`, `order_id`, `account_id`), or send an
  `Idempotency-Key`. The same again gets the stored answer; other content under the same id is a conflict.
- **Waiting.** With `Prefer: wait=N` an answer comes when the outcome is final, after N seconds at most (60); without it, at once.
- **A business refusal is no error**: a transaction that is rejected answers with its status and its reason. Errors are
  [problems](../problems.md) of RFC 9457 with a stable `code`.
- **Pages.** A list takes `limit` and `cursor`; a page's `next_cursor` is the next one's `cursor`, and `null` at the end."""
_COMMON: Final = frozenset({401, 406, 413, 415, 422, 429, 500, 503, 504})
_WORDS: Final = {"Successful Response": "Done."}
"""For those of FastAPI."""
_LONG_LINES: Final = 30
"""Examples with more lines are folded away."""


class _Operation(NamedTuple):
    method: str
    path: str
    content: dict[str, Any]

    @property
    def heading(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def tag(self) -> str:
        return str(self.content["tags"][0])

    @property
    def scopes(self) -> str:
        if "security" not in self.content:
            return "public"
        scopes = [scope for needed in self.content["security"] for found in needed.values() for scope in found]
        return " or ".join(code(scope) for scope in scopes) or "any key"

    @property
    def first_sentence(self) -> str:
        return str(self.content.get("description", "")).partition("\n\n")[0].partition(". ")[0].rstrip(".").replace("\n", " ")


def openapi() -> dict[str, Any]:
    """The document, of an application that is connected with nothing."""
    nowhere = Settings(postgres_url="postgresql://nobody@127.0.0.1/none", temporal_address="127.0.0.1:1", kafka_bootstrap_servers=None)
    return document(create_app(nowhere))


def pages() -> dict[str, str]:
    """The pages by their names."""
    made = openapi()
    operations = [
        _Operation(method.upper(), path, content) for path, methods in made["paths"].items() for method, content in methods.items()
    ]
    common = _common_answers(operations)
    by_tag = {tag["name"]: tag["description"] for tag in made["tags"]}
    found = {"README.md": _first_page(operations, by_tag, common)}
    for tag, description in by_tag.items():
        of_tag = [operation for operation in operations if operation.tag == tag]
        found[_file(tag)] = _page_of_tag(tag, description, of_tag, made["components"]["schemas"], common)
    return found


def _file(tag: str) -> str:
    return f"{tag.replace(' ', '-')}.md"


def _common_answers(operations: Iterable[_Operation]) -> dict[str, str]:
    """The answers that endpoints give in the same words, by status."""
    counted = Counter(
        (status, answer["description"])
        for operation in operations
        for status, answer in operation.content["responses"].items()
        if int(status) in _COMMON
    )
    common: dict[str, str] = {}
    for (status, description), _ in counted.most_common():
        common.setdefault(status, description)
    return dict(sorted(common.items()))


def _first_page(operations: list[_Operation], tags: dict[str, str], common: dict[str, str]) -> str:
    groups = [
        f"### [{tag.capitalize()}]({_file(tag)})\n\n{description}\n\n"
        + table(
            ("endpoint", "scope", "what it does"),
            (
                (f"[{code(each.heading)}]({_file(tag)}#{anchor(each.heading)})", each.scopes, each.first_sentence)
                for each in operations
                if each.tag == tag
            ),
        )
        for tag, description in tags.items()
    ]
    scopes = table(("scope", "what it lets do", "contains"), _scopes())
    answers = table(("status", "problem codes", "when"), ((status, _codes(int(status), text), text) for status, text in common.items()))
    return page(
        "The HTTP API",
        _INTRODUCTION,
        "## Endpoints",
        *groups,
        "## Scopes",
        "Of two scopes that an endpoint names, one is enough.",
        scopes,
        "## Answers of every endpoint",
        "Endpoints with a body have 413 and 415 as well; those with neither body nor parameters have no 422.",
        answers,
    )


def _scopes() -> Iterator[tuple[str, str, str]]:
    meanings = member_texts(Scope)
    for scope in Scope:
        others = [each for each in Scope if each in granted((scope,)) and each is not scope]
        contained = f"all but {code(Scope.PAYLOADS)}" if scope is Scope.ALL else ", ".join(code(each) for each in others)
        yield code(scope), meanings[scope.name], contained


def _codes(status: int, description: str) -> str:
    return ", ".join(f"[{code(each)}](../problems.md#{each})" for each in problem_codes_of(status, description))


def _page_of_tag(tag: str, description: str, operations: list[_Operation], schemas: dict[str, Schema], common: dict[str, str]) -> str:
    sections = [part for operation in operations for part in _section(operation, common)]
    objects = [_object(name, schemas[name]) for name in _all_named(operations, schemas)]
    return page(
        tag.capitalize(),
        f"{description} [All endpoints](README.md).",
        *sections,
        "## Objects" if objects else "",
        *objects,
    )


def _section(operation: _Operation, common: dict[str, str]) -> Iterator[str]:
    yield f"## {code(operation.heading)}"
    yield "\n\n".join(" ".join(part.split()) for part in operation.content.get("description", "").split("\n\n"))
    yield f"Scope: {operation.scopes}."
    yield table(
        ("parameter", "in", "type and limits", "default", "meaning"),
        (
            (
                code(parameter["name"]),
                parameter["in"],
                type_of(parameter["schema"]),
                "required" if parameter.get("required") else default_of(parameter["schema"]),
                parameter.get("description", ""),
            )
            for parameter in operation.content.get("parameters", ())
        ),
    )
    body = operation.content.get("requestBody", {})
    for media_type, media in body.get("content", {}).items():
        kind = "" if media_type == "application/json" else f" as {code(media_type)}"
        yield f"Body{kind}{'' if body.get('required') else ' (may be left out)'}: {type_of(media.get('schema', {}))}."
    yield table(("status", "answer", "when"), _answers(operation, common))
    if "security" in operation.content:
        yield "Beside the [answers of every endpoint](README.md#answers-of-every-endpoint)."
    yield _example(operation)


def _answers(operation: _Operation, common: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for status, answer in operation.content["responses"].items():
        if common.get(status) == answer["description"]:
            continue
        content = answer.get("content", {})
        if MEDIA_TYPE in content:
            told = _codes(int(status), answer["description"])
        else:
            kinds = {media_type: type_of(media.get("schema") or {}) for media_type, media in content.items()}
            told = ", ".join(kind if media == "application/json" else code(media) for media, kind in kinds.items())
        yield status, told, _WORDS.get(answer["description"], answer["description"])


def _example(operation: _Operation) -> str:
    lines = [operation.method + " " + _example_path(operation)]
    if "security" in operation.content:
        lines.append("Authorization: Bearer KEY")
    headers = [each for each in operation.content.get("parameters", ()) if each["in"] == "header" and "example" in each]
    lines += [f"{header['name'].title()}: {header['example']}" for header in headers]
    media = operation.content.get("requestBody", {}).get("content", {})
    if "application/json" in media:
        lines += ["Content-Type: application/json", "", _json(media["application/json"]["example"])]
    elif media:
        lines += [f"Content-Type: {next(iter(media))}", "", "…"]
    asked = "\n".join(lines)
    status, answer = next((s, a) for s, a in operation.content["responses"].items() if int(s) < HTTPStatus.BAD_REQUEST)
    status, answer = _better(operation, status, answer)
    first = f"HTTP/1.1 {status} {HTTPStatus(int(status)).phrase}"
    example = answer.get("content", {}).get("application/json", {}).get("example")
    if example is None:
        kinds = list(answer.get("content", {}))
        answered = f"{first}\nContent-Type: {kinds[0]}\n\n…" if kinds else first
    else:
        answered = f"{first}\nContent-Type: application/json\n\n{_json(example)}"
    block = f"```http\n{answered}\n```"
    if answered.count("\n") > _LONG_LINES:
        block = f"<details>\n<summary>Its answer</summary>\n\n{block}\n\n</details>"
    return f"```http\n{asked}\n```\n\n{block}"


def _better(operation: _Operation, status: str, answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where something is made, the answer that says so: 200 is a repeat's."""
    made = operation.content["responses"].get("201")
    return ("201", made) if made is not None else (status, answer)


def _example_path(operation: _Operation) -> str:
    path, query = operation.path, []
    for parameter in operation.content.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        elif parameter["in"] == "query" and parameter.get("required"):
            query.append(f"{parameter['name']}={parameter['example']}")
    return f"{path}?{'&'.join(query)}" if query else path


def _json(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def _all_named(operations: Iterable[_Operation], schemas: dict[str, Schema]) -> list[str]:
    """The schemas that the operations of a page need, problems left out."""
    found: dict[str, None] = {}
    waiting = [
        name
        for operation in operations
        for name in named_in([operation.content.get("parameters"), operation.content.get("requestBody"), _good(operation)])
    ]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += named_in(schemas[name])
    return sorted(found)


def _good(operation: _Operation) -> list[Any]:
    return [answer for answer in operation.content["responses"].values() if MEDIA_TYPE not in answer.get("content", {})]


def _object(name: str, schema: Schema) -> str:
    fields = table(("field", "type and limits", "default", "meaning"), fields_of(schema)) or f"One of: {type_of(schema)}."
    description = " ".join(str(schema.get("description", "")).split())
    return "\n\n".join(part for part in (f"### {name}", description, fields) if part)
