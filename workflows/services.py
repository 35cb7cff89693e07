"""Calling a service from a workflow: locally first, as an ordinary activity when that failed, and out of a cancel's reach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

from workflows import visibility
from workflows.policies import NON_RETRYABLE_TYPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from workflows.policies import ServicePolicy

_Service = TypeVar("_Service")
_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")


async def call(
    method: Callable[[_Service, _Argument], Awaitable[_Answer]], argument: _Argument, *, policy: ServicePolicy, summary: str
) -> _Answer:
    """Call a service that is safe to repeat. An attempt whose outcome is unknown is settled by the next one, with the same argument.

    Raises:
        ApplicationError: a failure that no retry can mend, with the ledger error's class name as its type.
        ActivityError: the policy's deadline has passed.
        asyncio.CancelledError: the caller was cancelled.
    """
    before = workflow.get_current_details()
    workflow.set_current_details(visibility.stage_details(before, summary, repeated=False))
    try:
        return await _called(method, argument, policy=policy, summary=summary, before=before)
    finally:
        workflow.set_current_details(before)


async def _called(
    method: Callable[[_Service, _Argument], Awaitable[_Answer]], argument: _Argument, *, policy: ServicePolicy, summary: str, before: str
) -> _Answer:
    try:
        return await workflow.execute_local_activity_method(
            method,
            argument,
            start_to_close_timeout=policy.local_attempt,
            schedule_to_close_timeout=policy.local_total,
            retry_policy=policy.local_retry,
            summary=summary,
        )
    except FailureError as error:
        # Exhausted local attempts arrive as the bare ApplicationError. A time-out arrives as an ActivityError while the workflow runs,
        # and as the bare TimeoutError when it is replayed: whoever tells them apart breaks its own history.
        _raise_if_for_good(error)
        workflow.logger.warning("the local attempts of %s failed; an ordinary activity takes over", summary)
    workflow.set_current_details(visibility.stage_details(before, summary, repeated=True))
    try:
        return await workflow.execute_activity_method(
            method,
            argument,
            start_to_close_timeout=policy.attempt,
            schedule_to_close_timeout=policy.deadline,
            retry_policy=policy.retry,
            summary=summary,
        )
    except ActivityError as error:
        _raise_if_for_good(error)
        raise


def _raise_if_for_good(error: FailureError) -> None:
    """Raise what no further attempt can mend: the caller's cancel, or a defect as the activity raised it."""
    if is_cancelled_exception(error):
        raise asyncio.CancelledError from error
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and (cause.non_retryable or cause.type in NON_RETRYABLE_TYPES):
        raise cause


async def uninterrupted(story: Coroutine[Any, Any, _Answer], *, on_cancel: Callable[[], None] | None = None) -> _Answer:
    """Run `story` to its end, whatever cancels arrive meanwhile; each of them is told to `on_cancel`.

    A shield alone is not enough: it keeps the story running, but the workflow would end as cancelled without waiting for it.
    """
    task = asyncio.create_task(story)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # not a cancel of the transaction: the worker puts the workflow out of its memory
                raise
            if on_cancel is not None:
                on_cancel()
            workflow.logger.warning("a cancel arrived after posting had begun; it changes nothing")
    return task.result()
