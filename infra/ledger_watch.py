"""Watches the ledger of a process: figures of its batches, and spans that tie a batch to the transactions in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context as opentelemetry_context
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind

from infra import tracing
from ledger.observing import Arrival

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from infra.metrics import LedgerMetrics
    from ledger.observing import BatchCounts
    from ledger.refusals import RefusalCode


class _Began(NamedTuple):
    at_seconds: float
    arrivals: Sequence[Arrival]
    batch: Span | None
    token: Token[Context] | None


class LedgerWatch:
    """Implements :class:`ledger.observing.LedgerObserver`."""

    def __init__(self, metrics: LedgerMetrics | None) -> None:
        self._metrics = metrics

    def arrived(self, transaction_id: str) -> Arrival:
        """See :meth:`ledger.observing.LedgerObserver.arrived`."""
        return Arrival(time.perf_counter(), transaction_id, tracing.current_context())

    def began(self, arrivals: Sequence[Arrival]) -> object:
        """See :meth:`ledger.observing.LedgerObserver.began`."""
        traces = [arrival.trace for arrival in arrivals if isinstance(arrival.trace, SpanContext)]
        batch = tracing.batch_span("ledger batch", traces, {"casaflow.batch.postings": len(arrivals)}) if traces else None
        # What the database does for the batch hangs below the batch, and not below whichever transaction came first.
        token = opentelemetry_context.attach(trace.set_span_in_context(batch, opentelemetry_context.Context())) if batch else None
        return _Began(time.perf_counter(), arrivals, batch, token)

    def ended(self, began: object, batch: BatchCounts) -> None:
        """See :meth:`ledger.observing.LedgerObserver.ended`."""
        if not isinstance(began, _Began):
            return
        now = time.perf_counter()
        if self._metrics is not None:
            first = began.arrivals[0].at_seconds if began.arrivals else began.at_seconds
            self._metrics.batch(batch, waited_seconds=began.at_seconds - first, seconds=now - began.at_seconds)
        if began.token is not None:
            opentelemetry_context.detach(began.token)
        if began.batch is not None:
            began.batch.set_attributes(
                {"casaflow.batch.side": batch.side, "casaflow.batch.legs": batch.legs, "casaflow.batch.errors": batch.errors}
            )
            began.batch.end()
            self._point_at_batch(began, began.batch.get_span_context(), now)

    def overtaken(self) -> None:
        """See :meth:`ledger.observing.LedgerObserver.overtaken`."""
        if self._metrics is not None:
            self._metrics.overtaken()

    def rejected(self, reason: RefusalCode) -> None:
        """See :meth:`ledger.observing.LedgerObserver.rejected`."""
        if self._metrics is not None:
            self._metrics.rejected(reason)

    def folded(self, credits_folded: int) -> None:
        """See :meth:`ledger.observing.LedgerObserver.folded`."""
        if self._metrics is not None:
            self._metrics.folded(credits_folded)

    @staticmethod
    def _point_at_batch(began: _Began, batch: SpanContext, now: float) -> None:
        """In the trace of each transaction: how long its legs waited and were posted, and in which batch."""
        now_nanoseconds = time.time_ns()
        for arrival in began.arrivals:
            if isinstance(arrival.trace, SpanContext):
                tracing.in_trace_of(
                    arrival.trace,
                    "ledger post",
                    kind=SpanKind.CLIENT,
                    began=now_nanoseconds - round((now - arrival.at_seconds) * 1e9),
                    links=[batch],
                    attributes={
                        "db.system.name": "postgresql",
                        "casaflow.transaction_id": arrival.transaction_id,
                        "casaflow.batch.waited_seconds": began.at_seconds - arrival.at_seconds,
                    },
                ).end()
