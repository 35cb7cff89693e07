"""The hold service: sets money aside and lets it go, by the ledger's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.call import hold_call
from ledger.errors import HoldNotVoidableError, NotFoundError
from ledger.holds import Hold, HoldRequest, HoldStatus

if TYPE_CHECKING:
    from ledger.ports import HoldLedger


class HoldKey(BaseModel):
    """Which hold is meant."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    hold_id: str


class CaptureInquiry(BaseModel):
    """Which hold is looked at, and the transactions that may have captured from it."""

    model_config = ConfigDict(frozen=True)

    key: HoldKey
    transaction_ids: tuple[str, ...]


class CaptureReport(BaseModel):
    """How a hold stands, and what was settled before it was looked at."""

    model_config = ConfigDict(frozen=True)

    hold: Hold
    settled: tuple[str, ...]
    """Those of the transactions that are over; what they captured is in the hold."""


class HoldActivities:
    """Hands instructions to the ledger. A refusal is an answer; every method is safe to repeat with the same argument."""

    def __init__(self, holds: HoldLedger) -> None:
        self._holds = holds

    @activity.defn(name="hold.authorise")
    async def authorise(self, request: HoldRequest) -> Hold:
        """Decide a hold, and set its amount aside; a repeat gets it as it stands. One that is found expired is told of.

        Raises:
            ApplicationError: UnavailableError, retryable. UnknownAccountError, InvalidInputError, HoldConflictError, not retryable.
        """
        with hold_call(request.tenant, request.hold_id):
            hold, is_new = await self._holds.authorise(request)
            if not is_new and hold.status is HoldStatus.EXPIRED:
                # The workflow that was to do this was terminated: the one that takes the hold over finds nothing open any more.
                return await self._holds.expire_one(request.tenant, request.hold_id)
            return hold

    @activity.defn(name="hold.void")
    async def void(self, key: HoldKey) -> Hold:
        """Release what an open hold still holds; one that isn't open is answered as it stands.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        with hold_call(key.tenant, key.hold_id):
            try:
                return await self._holds.void(key.tenant, key.hold_id)
            except HoldNotVoidableError:
                return await self._as_it_stands(key)

    @activity.defn(name="hold.expire")
    async def expire(self, key: HoldKey) -> Hold:
        """Close a hold that is past its end; any other is answered as it stands.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        with hold_call(key.tenant, key.hold_id):
            return await self._holds.expire_one(key.tenant, key.hold_id)

    @activity.defn(name="hold.look_up")
    async def look_up(self, inquiry: CaptureInquiry) -> CaptureReport:
        """The hold as it stands, and which of the transactions that capture from it are over.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        key = inquiry.key
        with hold_call(key.tenant, key.hold_id):
            # Asked first: what is over by now is in the hold that is read after it.
            settled = await self._holds.settled(key.tenant, inquiry.transaction_ids)
            return CaptureReport(hold=await self._as_it_stands(key), settled=settled)

    async def _as_it_stands(self, key: HoldKey) -> Hold:
        hold = await self._holds.get(key.tenant, key.hold_id)
        if hold is None:
            raise NotFoundError(kind="hold", identifier=key.hold_id)
        return hold
