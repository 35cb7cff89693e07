"""What every activity call has in common: the transaction in its log lines, and errors as Temporal understands them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from ledger.errors import NON_RETRYABLE_ERRORS, CasaflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = structlog.get_logger(__name__)


@contextmanager
def hold_call(tenant: str, hold_id: str) -> Iterator[None]:
    """Run an activity's body for one hold; otherwise as :func:`transaction_call`."""
    with structlog.contextvars.bound_contextvars(tenant=tenant, hold_id=hold_id), errors_as_temporals():
        yield


@contextmanager
def order_call(tenant: str, order_id: str) -> Iterator[None]:
    """Run an activity's body for one standing order; otherwise as :func:`transaction_call`."""
    with structlog.contextvars.bound_contextvars(tenant=tenant, order_id=order_id), errors_as_temporals():
        yield


@contextmanager
def transaction_call(tenant: str, transaction_id: str) -> Iterator[None]:
    """Run an activity's body for one transaction; an activity that is done says so in the log at its finest level.

    Every log line below it names the transaction. This is the only place where casaflow's errors become Temporal's. What caused them
    stays behind: a driver's message quotes the statement with its parameters, and a failure stands in the history for all to read.

    Raises:
        ApplicationError: for any CasaflowError. Its ``type`` is the class's name, its first detail the stable code, and it is
            non-retryable exactly when the class is one of :data:`ledger.errors.NON_RETRYABLE_ERRORS`.
    """
    with structlog.contextvars.bound_contextvars(tenant=tenant, transaction_id=transaction_id), errors_as_temporals():
        yield


@contextmanager
def errors_as_temporals() -> Iterator[None]:
    """Turn casaflow's errors into Temporal's; see :func:`transaction_call`."""
    try:
        yield
        _log.debug("activity.done", activity=activity.info().activity_type, locally=activity.info().is_local)
    except CasaflowError as error:
        raise ApplicationError(
            str(error), error.code, type=type(error).__name__, non_retryable=isinstance(error, NON_RETRYABLE_ERRORS)
        ) from None
