"""The pace at which transactions end."""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict


class EndedSecond(BaseModel):
    """What ended in one second. A second in which nothing ended is left out."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    at: dt.datetime
    """Its beginning."""
    completed: int
    rejected: int
    reversed: int
    latency_p50_ms: float | None
    """From submission to outcome: half of them took so long at most."""
    latency_p95_ms: float | None


class Throughput(BaseModel):
    """The transactions that were submitted within a window, and of which something is recorded."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    until: dt.datetime
    """The end of the last full second."""
    window_seconds: int
    completed: int
    rejected: int
    reversed: int
    open: int
    """Recorded, without an outcome yet."""
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    truncated: bool
    """There were more than are looked at: the figures are of the newest of them."""
    seconds: list[EndedSecond]
