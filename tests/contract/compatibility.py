"""What a change of a schema does to those who read its events: anything but an addition breaks some of them.

Both ways count. A reader that knows the old schema gets new events, so nothing may be gone, wider, or absent that never was. And a reader
that knows the new one reads old events, which stay in the topics for weeks and in archives for years, so nothing may be narrower either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.schemas import Schema, allowed_values, resolved

_COMPARED_ONE_BY_ONE: Final = frozenset(
    {"$defs", "$ref", "default", "anyOf", "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems"}
)
"""Every other keyword has to stay as it is: pattern, format, the bounds, and whatever pydantic may use one day."""


def breaks(old: Schema, new: Schema, what: str = "the event") -> list[str]:
    """What of the change could break a reader; empty when nothing can."""
    return list(dict.fromkeys(_Comparison(old, new).breaks(old, new, what, frozenset())))


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions, self._new_definitions = old.get("$defs", {}), new.get("$defs", {})

    def breaks(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        names = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and "$ref" in new:
            if names in seen:
                return
            seen |= {names}
        old, new = resolved(old, self._old_definitions), resolved(new, self._new_definitions)
        if old.get("default") != new.get("default"):
            yield f"{where} meant {old.get('default')!r} where it was absent, and means {new.get('default')!r}"
        if "anyOf" in old or "anyOf" in new:
            yield from self._variants(old.get("anyOf", [old]), new.get("anyOf", [new]), where, seen)
            return
        if old.get("type") != new.get("type"):
            yield f"{where} was {old.get('type', 'anything')}, and is {new.get('type', 'anything')}"
            return
        yield from _values(old, new, where)
        for keyword in sorted((old.keys() | new.keys()) - _COMPARED_ONE_BY_ONE):
            if old.get(keyword) != new.get(keyword):
                yield f"{where} had {keyword} {old.get(keyword)!r}, and has {new.get(keyword)!r}"
        yield from self._fields(old, new, where, seen)
        yield from self._elements(old, new, where, seen)

    def _variants(self, old: list[Schema], new: list[Schema], where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        between = [[list(self.breaks(before, now, where, seen)) for now in new] for before in old]
        for before, problems in zip(old, between, strict=True):
            if all(problems):
                kind = self._kind(before, self._old_definitions)
                alike = [problem for problem, now in zip(problems, new, strict=True) if self._kind(now, self._new_definitions) == kind]
                # The closest one tells best what is wrong.
                yield from min(alike, key=len) if alike else [f"{where} could be {kind}, and can't any more"]
        for place, now in enumerate(new):
            problems = [of_old[place] for of_old in between]
            if all(problems):
                kind = self._kind(now, self._new_definitions)
                alike = [
                    problem for problem, before in zip(problems, old, strict=True) if self._kind(before, self._old_definitions) == kind
                ]
                yield from min(alike, key=len) if alike else [f"{where} may be {kind}, which it never was"]

    @staticmethod
    def _kind(schema: Schema, definitions: dict[str, Schema]) -> str:
        return str(resolved(schema, definitions).get("type", "anything"))

    def _fields(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in now:
                yield f"{where}.{name} is gone"
            else:
                yield from self.breaks(before[name], now[name], f"{where}.{name}", seen)
        always_before, always_now = old.get("required", []), new.get("required", [])
        for name in always_before:
            if name in now and name not in always_now:
                yield f"{where}.{name} was always there, and may be absent"
        for name in always_now:
            if name not in always_before:
                yield f"{where}.{name} is always there, and older events lack it"

    def _elements(self, old: Schema, new: Schema, where: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        for keyword in ("items", "additionalProperties"):
            before, now = old.get(keyword, True), new.get(keyword, True)
            if before is False or now is False:
                if before != now:
                    yield f"{where} had {keyword} {before!r}, and has {now!r}"
            elif isinstance(before, dict) or isinstance(now, dict):
                # True is the schema that allows anything.
                yield from self.breaks({} if before is True else before, {} if now is True else now, f"each of {where}", seen)
        before_places, now_places = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before_places) != len(now_places):
            yield f"{where} had {len(before_places)} places, and has {len(now_places)}"
        for place, (before, now) in enumerate(zip(before_places, now_places, strict=False)):
            yield from self.breaks(before, now, f"{where}[{place}]", seen)


def _values(old: Schema, new: Schema, where: str) -> Iterator[str]:
    before, now = allowed_values(old), allowed_values(new)
    if before is None and now is not None:
        yield f"{where} could be anything, and is one of {now}"
    elif before is not None and now is None:
        yield f"{where} was one of {before}, and may be anything"
    elif before is not None and now is not None:
        yield from (f"{where} can't be {value!r} any more" for value in before if value not in now)
        yield from (f"{where} may be {value!r}, which its readers don't know" for value in now if value not in before)
