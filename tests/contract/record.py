"""What is published about the events, as files: ``python -m tests.contract.record`` writes them anew.

`docs/events/` has the AsyncAPI document and a JSON Schema for each type, for those who read. `baseline.json` has what readers rely on,
and only ever grows: the command refuses a change that could break one of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from infra.kafka import asyncapi
from ledger.event_types import EVENT_TYPES, schema_of
from tests.contract.compatibility import breaks
from tests.schemas import Schema, without_words

BASELINE: Final = Path(__file__).with_name("baseline.json")
DOCUMENTS: Final = Path(__file__).parents[2] / "docs" / "events"

ADVICE: Final = """\
Programs that nobody here knows read these events, and old events stay in topics and archives.
- A new field is one that may be absent, and whose absence means what it always meant: a default, and left out where it isn't set.
- Instead of removing, renaming, retyping, widening or narrowing a field: leave it as it is, and add another one.
- What can't be had by a field is a new type beside the old one: a model of its own, `….v2` in EVENT_TYPES on the same topic. Publish both
  until nobody reads the old one, which stays in the baseline."""

LATER: Final = "The events have gained something, or are described in other words. Write it down: python -m tests.contract.record"


def published() -> dict[str, Any]:
    """What readers rely on: headers, and for each type its topic, its key and its data."""
    types = {
        name: {"topic": event_type.topic, "key": event_type.key, "data": without_words(schema_of(event_type), defaults=True)}
        for name, event_type in sorted(EVENT_TYPES.items())
    }
    return {"headers": without_words(asyncapi.headers_schema(), defaults=True), "types": types}


def baseline() -> dict[str, Any]:
    """What was published before."""
    found: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {"headers": {}, "types": {}}
    return found


def all_breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What could break a reader, type by type."""
    found = breaks(old["headers"], new["headers"], "the header") if old["headers"] else []
    for name, before in old["types"].items():
        now = new["types"].get(name)
        if now is None:
            found.append(f"{name}: it is gone")
            continue
        found += [f"{name}: its {what} was {before[what]}, and is {now[what]}" for what in ("topic", "key") if before[what] != now[what]]
        found += [f"{name}: {problem}" for problem in breaks(before["data"], now["data"])]
    return found


def documents() -> dict[str, str]:
    """The files of `docs/events`, by their paths in it."""
    schemas = {f"schemas/{name}.json": _text(schema_of(event_type)) for name, event_type in EVENT_TYPES.items()}
    return {"asyncapi.json": _text(asyncapi.document()), **schemas}


def _text(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the files, unless a reader could break."""
    argparse.ArgumentParser(
        prog="python -m tests.contract.record", description="Write down what is published about the events."
    ).parse_args(arguments)
    now = published()
    problems = all_breaks(baseline(), now)
    if problems:
        sys.exit("\n".join([*problems, "", ADVICE]))
    for path, text in documents().items():
        file = DOCUMENTS / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    BASELINE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
