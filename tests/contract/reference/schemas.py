"""Words for JSON Schemas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.contract.reference.markdown import anchor, code

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]

_FORMATS: Final = {
    "uuid": "UUID",
    "date-time": "instant (RFC 3339)",
    "date": "date (`2026-01-31`)",
    "time": "time (`12:00:00`)",
    "uri": "URL",
    "binary": "bytes",
}
_OBVIOUS: Final = frozenset({"uuid", "date-time"})
"""Formats whose patterns tell nothing more."""


def type_of(schema: Schema) -> str:
    """What a value may be, with its limits."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[choice]))
    if "const" in schema:
        return code(json.dumps(schema["const"]).strip('"'))
    if "enum" in schema:
        return ", ".join(code(each) for each in schema["enum"])
    return ", ".join([_kind(schema), *_limits(schema)])


def _kind(schema: Schema) -> str:
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"list of {type_of(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {type_of(values)}" if isinstance(values, dict) and values else "object"
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "text")
    return {"integer": "whole number", "boolean": "`true` or `false`", "null": "`null`"}.get(kind, str(kind))


def _limits(schema: Schema) -> Iterator[str]:
    for least, most, unit in (
        ("minLength", "maxLength", " characters"),
        ("minimum", "maximum", ""),
        ("minItems", "maxItems", " entries"),
        ("minProperties", "maxProperties", " fields"),
    ):
        if least in schema and most in schema:
            yield f"{schema[least]:,} to {schema[most]:,}{unit}"
        elif least in schema:
            yield f"{schema[least]:,}{unit} or more"
        elif most in schema:
            yield f"{schema[most]:,}{unit} at most"
    if "exclusiveMinimum" in schema:
        yield f"more than {schema['exclusiveMinimum']:,}"
    if "pattern" in schema and schema.get("format") not in _OBVIOUS:
        yield code(schema["pattern"])


def fields_of(schema: Schema) -> Iterator[tuple[str, str, str, str]]:
    """Each field: its name, what it may be, whether it must be given, or what it is else, and its meaning."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield code(name), type_of(field), "required" if name in required else default_of(field), field.get("description", "")


def default_of(schema: Schema) -> str:
    """What counts where nothing is given."""
    default = schema.get("default")
    if default is None or default in ([], {}):
        return ""
    return code(str(default).lower() if isinstance(default, bool) else default)


def named_in(schema: Any) -> Iterator[str]:
    """The schemas that a schema refers to, in their order."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for part in schema.values():
            yield from named_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from named_in(part)
