"""What stands in histories, by its JSON Schema: ``python -m tests.replay.payloads`` writes it down.

A recorded payload is read for as long as its history is kept, and by workers of two versions during a deployment. So a payload may gain
optional fields, and nothing else: what was written once must be readable.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from temporalio import activity, workflow

import activities
import workflows
from tests.schemas import Schema, allowed_values, resolved, without_words

BASELINE: Final = Path(__file__).with_name("payloads.json")

ADVICE: Final = """\
Payloads of this kind stand in the histories of running transactions, and a worker of the version before may read what this one writes.
- A new field needs a default that means what its absence meant.
- Instead of removing, renaming or retyping a field: add another one, read both, and leave the old one until no history has it.
- Where a meaning can't be had by a field, branch with `workflow.patched(...)`, or give the activity another name."""

LATER: Final = "Payloads have gained something. Write it down, so that it isn't lost again: python -m tests.replay.payloads"

_TIGHTENING_UP: Final = ("minLength", "minimum", "exclusiveMinimum", "minItems")
_TIGHTENING_DOWN: Final = ("maxLength", "maximum", "exclusiveMaximum", "maxItems")
_FIXED: Final = ("pattern", "format", "multipleOf")


def workflow_classes() -> list[type]:
    """Every workflow class in `workflows/`."""
    return sorted(
        {
            member
            for module in _modules(workflows)
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__ and workflow._Definition.from_class(member) is not None
        },
        key=lambda found: found.__name__,
    )


def _modules(package: Any) -> list[Any]:
    return [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]


def _callables() -> Iterator[tuple[str, Any]]:
    """Everything that has arguments or a result in histories, by a name that stays."""
    for found in workflow_classes():
        definition = workflow._Definition.must_from_class(found)
        yield f"workflow {definition.name}", definition.run_fn
        for kind, handlers in (("signal", definition.signals), ("query", definition.queries), ("update", definition.updates)):
            for name, handler in handlers.items():
                yield f"{kind} {name} of {definition.name}", handler.fn
    for module in _modules(activities):
        for _, holder in inspect.getmembers(module, inspect.isclass):
            for _, method in inspect.getmembers(holder, inspect.isfunction):
                found_activity = activity._Definition.from_callable(method)
                if found_activity is not None and holder.__module__ == module.__name__:
                    yield f"activity {found_activity.name}", method


def schemas() -> dict[str, Schema]:
    """The schema of each argument and result by its place, such as ``activity casa.post, argument posting``."""
    found: dict[str, Schema] = {}
    for place, function in _callables():
        hints = typing.get_type_hints(function, include_extras=True)
        for name in inspect.signature(function).parameters:
            if name != "self":
                found[f"{place}, argument {name}"] = _schema(hints[name])
        result = hints.get("return")
        if result is not None and result is not type(None):
            found[f"{place}, result"] = _schema(result)
    return dict(sorted(found.items()))


def _schema(of: Any) -> Schema:
    bare = without_words(TypeAdapter(of).json_schema(mode="validation"), defaults=False)
    assert isinstance(bare, dict)
    return bare


def breaks(old: Schema, new: Schema) -> list[str]:
    """Why something that was written under the old schema may be unreadable under the new one; empty when it can't be."""
    return list(dict.fromkeys(_Comparison(old, new).breaks(old, new, "the payload", frozenset())))


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions, self._new_definitions = old.get("$defs", {}), new.get("$defs", {})

    def breaks(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        names = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and "$ref" in new and names in seen:
            return
        seen |= {names}
        old, new = resolved(old, self._old_definitions), resolved(new, self._new_definitions)
        if "anyOf" in old or "anyOf" in new:
            yield from self._variants(old, new, where, seen)
            return
        if old.get("type") != new.get("type"):
            if "type" in new:
                yield f"{where} was {old.get('type', 'anything')}, and is {new['type']}"
            return
        yield from _values(old, new, where)
        yield from _bounds(old, new, where)
        yield from self._fields(old, new, where, seen)
        yield from self._elements(old, new, where, seen)

    def _variants(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        for variant in old.get("anyOf", [old]):
            offers = [list(self.breaks(variant, offer, where, seen)) for offer in new.get("anyOf", [new])]
            if all(offers):
                # The closest one tells best what is wrong.
                yield from min(offers, key=len)

    def _elements(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        for key in ("items", "additionalProperties"):
            before, now = old.get(key), new.get(key)
            if isinstance(now, dict):
                yield from self.breaks(before if isinstance(before, dict) else {}, now, f"each of {where}", seen)
        if len(old.get("prefixItems", [])) != len(new.get("prefixItems", [])):
            yield f"{where} had {len(old.get('prefixItems', []))} places, and has {len(new.get('prefixItems', []))}"
        for place, (before, now) in enumerate(zip(old.get("prefixItems", []), new.get("prefixItems", []), strict=False)):
            yield from self.breaks(before, now, f"{where}[{place}]", seen)

    def _fields(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in now:
                yield f"{where}.{name} is gone"
            else:
                yield from self.breaks(before[name], now[name], f"{where}.{name}", seen)
        for name in new.get("required", []):
            if name not in old.get("required", []):
                yield f"{where}.{name} is required, and older payloads may lack it"


def _values(old: Schema, new: Schema, where: str) -> Iterator[str]:
    before, now = allowed_values(old), allowed_values(new)
    if now is None:
        return
    if before is None:
        yield f"{where} could be anything, and must be one of {now}"
        return
    for value in before:
        if value not in now:
            yield f"{where} can't be {value!r} any more"


def _bounds(old: Schema, new: Schema, where: str) -> Iterator[str]:
    for key in _FIXED:
        if key in new and old.get(key) != new[key]:
            yield f"{where} must have {key} {new[key]!r}, which was {old.get(key)!r}"
    for key in _TIGHTENING_UP:
        if key in new and (key not in old or old[key] < new[key]):
            yield f"{where} must have {key} {new[key]!r}, which was {old.get(key)!r}"
    for key in _TIGHTENING_DOWN:
        if key in new and (key not in old or old[key] > new[key]):
            yield f"{where} must have {key} {new[key]!r}, which was {old.get(key)!r}"


def all_breaks(old: dict[str, Schema], new: dict[str, Schema]) -> list[str]:
    """What of the old payloads may be unreadable now, place by place."""
    gone = [f"{place}: it is gone" for place in old if place not in new]
    added = [
        f"{place}: it is new, and older histories have none"
        for place in new
        if place not in old and ", argument " in place and any(known.startswith(place.partition(", ")[0] + ",") for known in old)
    ]
    changed = [f"{place}: {problem}" for place in old if place in new for problem in breaks(old[place], new[place])]
    return [*gone, *added, *changed]


def baseline() -> dict[str, Schema]:
    found: dict[str, Schema] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return found


def main(arguments: list[str]) -> None:
    """Write the schemas down, unless older payloads would become unreadable."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.payloads", description="Write down the schemas of all payloads.")
    parser.add_argument("--breaking", action="store_true", help="even so: no history with older payloads may be left anywhere")
    asked = parser.parse_args(arguments)
    now = schemas()
    problems = all_breaks(baseline(), now)
    if problems and not asked.breaking:
        parser.error("\n".join([*problems, ADVICE]))
    BASELINE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
