"""The story of a hold, from its authorisation until it holds nothing any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities.holds import CaptureInquiry, HoldActivities, HoldKey
from activities.notification import NotificationActivities, Publication
from ledger.commands import Command
from ledger.holds import Hold, HoldRequest, HoldStatus
from workflows import authority, policies, visibility
from workflows.services import call, uninterrupted

_FIRST_LOOK_AFTER: Final = timedelta(seconds=1)
_LOOK_AT_LEAST_EVERY: Final = timedelta(minutes=1)


class HoldInstruction(BaseModel):
    """What a hold's workflow is started with."""

    model_config = ConfigDict(frozen=True)

    request: HoldRequest
    hold: Hold | None = None
    """As it stood when an earlier run of this workflow handed over; None: it is to be authorised, or found."""
    captures: tuple[str, ...] = ()
    """Transactions that were announced, and were not over by then."""


@workflow.defn
class HoldWorkflow:
    """Authorises, waits, and expires. A cancel changes nothing: a hold ends by a void, by captures, or at its end."""

    @workflow.init
    def __init__(self, instruction: HoldInstruction) -> None:
        self._key = HoldKey(tenant=instruction.request.tenant, hold_id=instruction.request.hold_id)
        self._hold = instruction.hold
        self._captures = dict.fromkeys(instruction.captures)
        self._notices = 0

    @workflow.run
    async def run(self, instruction: HoldInstruction) -> Hold:
        """Watch the hold until it is closed."""
        return await uninterrupted(self._watch(instruction.request))

    async def _watch(self, request: HoldRequest) -> Hold:
        hold = self._hold
        if hold is None:
            hold = await call(
                HoldActivities.authorise, request, policy=policies.POSTING, summary=f"hold {request.amount}, account {request.account_id}"
            )
            self._take(hold)
            await self._publish()
        while hold.status is HoldStatus.OPEN:
            left = hold.expires_at - workflow.now()
            if left <= timedelta(0):
                self._take(await call(HoldActivities.expire, self._key, policy=policies.POSTING, summary="expire"))
                if self._hold is not None and self._hold.status is HoldStatus.OPEN:
                    await workflow.sleep(_FIRST_LOOK_AFTER)  # by the database's clock there is a moment left
            elif self._captures:
                await self._look(at_most=left)
            else:
                await self._wait_for_news(at_most=left)
            hold = self._hold or hold
            if workflow.info().is_continue_as_new_suggested() and hold.status is HoldStatus.OPEN:
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(HoldInstruction(request=request, hold=self._hold, captures=tuple(self._captures)))
        await self._publish()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return hold

    async def _wait_for_news(self, *, at_most: timedelta) -> None:
        try:
            await workflow.wait_condition(
                lambda: bool(self._captures) or self._is_closed(), timeout=at_most, timeout_summary="until the hold's end"
            )
        except TimeoutError:
            return

    async def _look(self, *, at_most: timedelta) -> None:
        """Look at the ledger until the announced captures are over, less and less often, and at once when there is a new one."""
        pause = _FIRST_LOOK_AFTER
        until = workflow.now() + at_most
        while self._captures and not self._is_closed() and workflow.now() < until:
            notices = self._notices
            inquiry = CaptureInquiry(key=self._key, transaction_ids=tuple(self._captures))
            report = await call(HoldActivities.look_up, inquiry, policy=policies.POSTING, summary="look what captures took")
            for transaction_id in report.settled:
                self._captures.pop(transaction_id, None)
            self._take(report.hold)
            if not self._captures or self._is_closed():
                return
            try:
                await workflow.wait_condition(lambda: self._notices > notices, timeout=min(pause, at_most))  # noqa: B023  awaited here
            except TimeoutError:
                pause = min(pause * 2, _LOOK_AT_LEAST_EVERY)

    async def _publish(self) -> None:
        publication = Publication(tenant=self._key.tenant, transaction_id=self._key.hold_id)
        await call(NotificationActivities.publish, publication, policy=policies.PUBLISHING, summary="publish")

    def _take(self, hold: Hold) -> None:
        """Show how the hold stands. What is closed stays closed: an answer may have been overtaken on its way."""
        if self._is_closed():
            return
        self._hold = hold
        workflow.upsert_search_attributes(visibility.attributes_of_hold(hold))
        workflow.set_current_details(visibility.hold_details(hold))

    def _is_closed(self) -> bool:
        return self._hold is not None and self._hold.status is not HoldStatus.OPEN

    @workflow.update(description="Waits until the hold is decided, and answers it: open, or refused for a reason.")
    async def authorised(self) -> Hold:
        """The hold, once it is decided."""
        await workflow.wait_condition(lambda: self._hold is not None)
        return self._current()

    @workflow.update(description="Releases what an open hold still holds. Comes through the API, which says who asks.")
    async def void(self, command: Command) -> Hold:
        """Release what the hold still holds; the answer is the hold as it stands after that, which may have been closed otherwise."""
        workflow.logger.info("void, as %s asked", command.by)
        await workflow.wait_condition(lambda: self._hold is not None)
        if not self._is_closed():
            summary = visibility.void_summary(command)
            self._take(await call(HoldActivities.void, self._key, policy=policies.POSTING, summary=summary))
        return self._current()

    @void.validator
    def _may_void(self, command: Command) -> None:
        authority.refuse_unless_authentic(command, action="void", tenant=self._key.tenant, identifier=self._key.hold_id)

    @workflow.update(description="A transaction captures from the hold: look what it took.")
    async def capture(self, transaction_id: str) -> None:
        """Look at the ledger until that transaction is over. It decides nothing, so whoever says so needs no authority."""
        self._captures[transaction_id] = None
        self._notices += 1

    @workflow.query(description="How the hold stands, as far as this workflow has seen.")
    def current(self) -> Hold | None:
        """The hold; None before it is decided."""
        return self._hold

    def _current(self) -> Hold:
        if self._hold is None:
            message = "the hold is not decided yet"
            raise RuntimeError(message)
        return self._hold
