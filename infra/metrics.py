"""The figures of a process, for Prometheus: https://prometheus.io/docs/practices/naming/. See docs/decisions/0020."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ledger.observing import BatchCounts
    from ledger.refusals import RefusalCode

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From one round trip to the database to the longest that anybody waits for an answer."""
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Up to the legs that a batch takes at most."""
_TAILS: Final = (64, 128, 256, 512, 1_024, 4_096, 16_384, 65_536, 262_144)
"""From the shortest tail that is folded."""


class LedgerMetrics:
    """What the ledger of this process does. Labels are words of the ledger's own, so there are few of them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics; once for a registry."""
        postings = Histogram(
            "casaflow_ledger_batch_postings",
            "Transactions of which legs went together in one database transaction.",
            ("side",),
            buckets=_SIZES,
            registry=registry,
        )
        legs = Histogram("casaflow_ledger_batch_legs", "Legs in one database transaction.", ("side",), buckets=_SIZES, registry=registry)
        wait = Histogram(
            "casaflow_ledger_batch_wait_seconds",
            "How long the first posting of a batch waited for it to begin.",
            ("side",),
            buckets=_SECONDS,
            registry=registry,
        )
        duration = Histogram(
            "casaflow_ledger_batch_duration_seconds",
            "From the beginning of a batch to its answers, the commit included.",
            ("side",),
            buckets=_SECONDS,
            registry=registry,
        )
        # Looked up once: a label's look-up costs more than what it counts.
        self._of_side = {side: tuple(metric.labels(side) for metric in (postings, legs, wait, duration)) for side in ("debit", "credit")}
        self._refusals = Counter("casaflow_ledger_refusals", "Answers that refuse a leg or a transaction.", ("reason",), registry=registry)
        self._repeats = Counter(
            "casaflow_ledger_repeats", "Callers that asked for legs that were in flight, and got the same answers.", registry=registry
        )
        self._overtaken = Counter(
            "casaflow_ledger_overtaken_batches",
            "Batches that were decided again, since another connection was faster with something of them.",
            registry=registry,
        )
        self._errors = Counter("casaflow_ledger_posting_errors", "Postings that got an error instead of an answer.", registry=registry)
        self._folds = Histogram(
            "casaflow_ledger_fold_credits",
            "Credits of one account that this process's maintenance folded; debits fold as well, in the database.",
            buckets=_TAILS,
            registry=registry,
        )

    def batch(self, counts: BatchCounts, *, waited_seconds: float, seconds: float) -> None:
        """A batch is over."""
        postings, legs, wait, duration = self._of_side[counts.side]
        postings.observe(counts.postings)
        legs.observe(counts.legs)
        wait.observe(waited_seconds)
        duration.observe(seconds)
        for reason, number in counts.refusals.items():
            self._refusals.labels(reason.value).inc(number)
        if counts.repeats:
            self._repeats.inc(counts.repeats)
        if counts.errors:
            self._errors.inc(counts.errors)

    def overtaken(self) -> None:
        """A batch is decided again."""
        self._overtaken.inc()

    def rejected(self, reason: RefusalCode) -> None:
        """A transaction was rejected before any leg was tried."""
        self._refusals.labels(reason.value).inc()

    def folded(self, credits_folded: int) -> None:
        """The tail of an account was folded."""
        self._folds.observe(credits_folded)


class ConsumerMetrics:
    """What the members of consumer groups in this process do. The label is a group's name, of which there are a handful."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics; once for a registry."""
        self._records = Counter(
            "casaflow_consumer_records", "Records that a group of this process has applied, or held.", ("group",), registry=registry
        )
        self._duration = Histogram(
            "casaflow_consumer_batch_duration_seconds",
            "How long a batch of one partition took to be applied, the commit included.",
            ("group",),
            buckets=_SECONDS,
            registry=registry,
        )

    def applied(self, group: str, *, records: int, seconds: float) -> None:
        """A batch of records was applied by a member of the group, which took so long."""
        self._records.labels(group).inc(records)
        self._duration.labels(group).observe(seconds)


class RelayMetrics:
    """What the relay of this process does."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metric; once for a registry."""
        self._relayed = Counter("casaflow_relayed_events", "Events that a relay published, since no workflow had.", registry=registry)

    def relayed(self, events: int) -> None:
        """So many events were published."""
        self._relayed.inc(events)


class HttpMetrics:
    """What is asked of the HTTP API of this process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics; once for a registry."""
        self._duration = Histogram(
            "casaflow_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer; its count is that of the requests.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("casaflow_http_requests_in_flight", "Requests that are being answered.", registry=registry)

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: of the request.
            route: the path with its parameters' names, so that ids don't make a series each.
            status: of the answer.
            seconds: how long it took.
        """
        self._duration.labels(method, route, str(status)).observe(seconds)
