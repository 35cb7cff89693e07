"""How services are called: time-outs and retries, by name. See docs/decisions/0004 for why each is what it is.

Every service is tried as a local activity first, inside the workflow task, and as an ordinary activity when that failed. Local
time-outs stay well below the ten seconds of a workflow task: what needs longer belongs into an ordinary activity, which an
operator can see.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

from ledger.errors import NON_RETRYABLE_ERRORS

NON_RETRYABLE_TYPES: Final = tuple(error.__name__ for error in NON_RETRYABLE_ERRORS)
"""Failure types that no retry can mend."""


@dataclass(frozen=True, kw_only=True)
class ServicePolicy:
    """How one service is called."""

    local_attempt: timedelta
    """The longest that one local attempt may run."""
    local_total: timedelta
    """The longest that all local attempts may take, the wait for a free slot included."""
    local_retry: RetryPolicy
    """Always with `maximum_attempts`: the default policy would go on retrying inside the workflow task."""
    attempt: timedelta
    """The longest that one ordinary attempt may run; also how long a lost worker goes unnoticed."""
    retry: RetryPolicy
    deadline: timedelta | None
    """When the ordinary attempts end for good; None: they go on for as long as it takes."""


def _locally(maximum_attempts: int) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=timedelta(milliseconds=50),
        backoff_coefficient=2.0,
        maximum_attempts=maximum_attempts,
        non_retryable_error_types=NON_RETRYABLE_TYPES,
    )


_FOR_AS_LONG_AS_IT_TAKES = RetryPolicy(
    initial_interval=timedelta(milliseconds=250),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=0,
    non_retryable_error_types=NON_RETRYABLE_TYPES,
)

RATE: Final = ServicePolicy(
    local_attempt=timedelta(seconds=2),
    local_total=timedelta(seconds=4),
    local_retry=_locally(maximum_attempts=2),
    attempt=timedelta(seconds=10),
    retry=_FOR_AS_LONG_AS_IT_TAKES,
    deadline=timedelta(minutes=2),
)
"""Nothing is posted yet, so waiting is cheap but pointless after a while: then the transaction is rejected."""

POSTING: Final = ServicePolicy(
    local_attempt=timedelta(seconds=2),
    local_total=timedelta(seconds=5),
    local_retry=_locally(maximum_attempts=2),
    attempt=timedelta(seconds=10),
    retry=_FOR_AS_LONG_AS_IT_TAKES,
    deadline=None,
)
"""Booking a leg, and recording an outcome without one. The second local attempt mends a lost connection."""

PUBLISHING: Final = ServicePolicy(
    local_attempt=timedelta(seconds=1),
    local_total=timedelta(seconds=2),
    local_retry=_locally(maximum_attempts=1),
    attempt=timedelta(seconds=15),
    retry=_FOR_AS_LONG_AS_IT_TAKES,
    deadline=None,
)
"""The answer leaves with the workflow task that this runs in, so a local attempt is short, and there is one."""

SWEEPING_ATTEMPT: Final = timedelta(minutes=5)
"""The longest that one look for abandoned transactions may take."""
SWEEPING_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=5,
    non_retryable_error_types=NON_RETRYABLE_TYPES,
)
"""A few attempts: the next sweep looks again."""

FILE_ATTEMPT: Final = timedelta(hours=2)
"""The longest that one attempt to validate a payment file, or to post a part of one, may run."""
FILE_HEARTBEAT: Final = timedelta(seconds=15)
"""A worker that was killed is missed after so long. Between two heartbeats lies one database transaction; and a second attempt, beside one
that is only slow, does no harm."""
FILE_RETRY: Final = _FOR_AS_LONG_AS_IT_TAKES
