"""What a stream of server-sent events is made of (the WHATWG's HTML standard, section 9.2), as far as the API uses it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

STREAM_ENDED: Final = "casaflow.stream.ended"
"""The type of an API's last word in a stream that it ends."""


@dataclass(frozen=True)
class StreamedEvent:
    """An event as it was sent."""

    position: str
    """Behind it another stream goes on."""
    type: str
    data: str
    """A CloudEvent as JSON; empty where only a position was said."""

    @property
    def content(self) -> dict[str, Any]:
        """The CloudEvent."""
        content = json.loads(self.data)
        return content if isinstance(content, dict) else {}


@dataclass
class StreamParser:
    """Puts entries together from their lines."""

    _position: str = ""
    _fields: dict[str, str] = field(default_factory=dict)

    def feed(self, line: str) -> StreamedEvent | None:
        """The entry that this line ends, if it ends one; those that only say a position are entries, too."""
        name, _, value = line.partition(":")
        if line:
            if name:  # else a comment, which only shows that the stream is alive
                self._fields[name] = value.removeprefix(" ")
            return None
        if not self._fields:
            return None
        fields, self._fields = self._fields, {}
        self._position = fields.get("id", self._position)
        return StreamedEvent(self._position, fields.get("event", ""), fields.get("data", ""))
