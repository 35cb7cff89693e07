"""JSON Schemas as pydantic writes them, as far as what is kept of them in baselines is compared."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_WORDS_ONLY: Final = frozenset({"title", "description", "examples"})


def without_words(node: Any, *, defaults: bool, names: bool = False) -> Any:
    """Without what only people read.

    Args:
        node: a schema, or a part of one.
        defaults: whether defaults stay.
        names: the keys are names of fields, which may be called `title`.
    """
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if names or not (key in _WORDS_ONLY or (key == "default" and not defaults))}
        return {
            key: without_words(value, defaults=defaults, names=not names and key in {"properties", "$defs"}) for key, value in kept.items()
        }
    if isinstance(node, list):
        return [without_words(element, defaults=defaults) for element in node]
    return node


def resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """What a schema refers to, with what it says beside; itself where it refers to nothing."""
    while "$ref" in schema:
        beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        schema = {**definitions[str(schema["$ref"]).rpartition("/")[2]], **beside}
    return schema


def allowed_values(schema: Schema) -> list[Any] | None:
    """The only values that it allows; None where it names none."""
    values: list[Any] | None = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return values
