"""What the deliverer of this process does, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ledger.deliveries import DeliveryOutcome
    from ledger.notifications import Channel


class NotificationMetrics:
    """Counters of deliveries. Labels are channels and outcomes, so there are few of them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics; once for a registry."""
        self._attempts = Counter(
            "casaflow_notification_attempts", "Attempts to deliver a message.", ("channel", "outcome"), registry=registry
        )
        self._dead = Counter("casaflow_notification_dead", "Messages that nothing more is tried for.", ("channel",), registry=registry)
        self._postponed = Counter(
            "casaflow_notification_postponed",
            "Messages that were due in quiet hours, and wait for their end.",
            ("channel",),
            registry=registry,
        )
        self._emails = Gauge(
            "casaflow_notification_emails_waiting",
            "E-mails that wait, for their time or for an SMTP server; up to 10,000.",
            registry=registry,
        )

    def attempted(self, channel: Channel, outcome: DeliveryOutcome) -> None:
        """An attempt is over."""
        self._attempts.labels(channel.value, outcome.value).inc()

    def died(self, channel: Channel) -> None:
        """A message is dead."""
        self._dead.labels(channel.value).inc()

    def postponed(self, channel: Channel) -> None:
        """A message waits for the end of quiet hours."""
        self._postponed.labels(channel.value).inc()

    def emails_waiting(self, number: int) -> None:
        """So many e-mails wait."""
        self._emails.set(number)
