"""The story of one bank transaction, from the request to the last notification."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.casa import CasaActivities, LinkedInstruction
from activities.exchange_rate import ExchangeRateActivities, Quotation, RateInquiry
from activities.notification import NotificationActivities, Publication
from ledger.commands import APPROVE, DECLINE, REVERSE, SETTLE_TO, Command, OperatorAction
from ledger.decisions import Decision, LegName
from ledger.postings import Posting, booked_debit, conversion_pair, conversion_refusal, first_posting
from ledger.rates import Conversion, convert
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import Rejection, TransactionResult, TransactionStatus, WaitingFor, WaitingKind
from ledger.settlements import abandoned
from workflows import policies, visibility
from workflows.parking import ParkedTransaction, Remedies
from workflows.services import call, uninterrupted
from workflows.transit import Transit
from workflows.waiting import CANCELLED, Waits, booking_day

if TYPE_CHECKING:
    import datetime as dt


@dataclass(frozen=True)
class _Prepared:
    """What is known before the first posting; a refusal ends the transaction before it."""

    conversion: Conversion | None = None
    refusal: Refusal | None = None


_CANCELLED = _Prepared(refusal=CANCELLED)


@workflow.defn
class TransactionWorkflow(ParkedTransaction):
    """Deposit, withdrawal or transfer. Business refusals are results; only a defect fails the workflow."""

    @workflow.init
    def __init__(self, request: TransactionRequest) -> None:
        super().__init__(request.model_copy(update={"settles": None}))
        self._waits = Waits(self._request, show=self._show_wait, record=self._record)

    @workflow.run
    async def run(self, request: TransactionRequest) -> TransactionResult:
        """Carry the transaction out. A cancel counts until the first posting begins, and never after it.

        A run that settles what another one has left ends what is half done, and rejects what was not begun.
        """
        try:
            return await self._carried_out(request)
        except ApplicationError as defect:
            self._show_failure(defect)
            raise

    async def _carried_out(self, request: TransactionRequest) -> TransactionResult:
        booking_date = booking_day(request)
        try:
            refusal = await self._refusal_before_posting(request)
            booking_date = booking_day(request)
            prepared = _Prepared(refusal=refusal) if refusal is not None else await self._prepare(request, booking_date)
        except asyncio.CancelledError:
            prepared = _CANCELLED
        if self._waits.cancelled is not None:
            prepared = _Prepared(refusal=self._waits.cancelled)
        return await uninterrupted(self._settle(self._request, prepared, booking_date), on_cancel=self._cancel_refused)

    async def _refusal_before_posting(self, request: TransactionRequest) -> Refusal | None:
        if request.settles is not None:
            return abandoned(request.settles)
        return CANCELLED if workflow.cancellation_reason() is not None else await self._waits.before_posting()

    async def _settle(self, request: TransactionRequest, prepared: _Prepared, booking_date: dt.date) -> TransactionResult:
        await self._waits.posting_begins()
        while prepared.refusal is not None:
            if await self._rejected(prepared.refusal):
                return await self._finish()
            # A leg is posted that this history doesn't know: by a run that was ended, or by a lost attempt. It has to be carried on.
            prepared = await self._prepare(request, booking_date)
            if prepared.refusal is not None and await self._settled_without_a_rate(prepared.refusal):
                return await self._finish()
        if request.posts_linked:
            instruction = LinkedInstruction(request=request, conversion=prepared.conversion, booking_date=booking_date)
            if await self._posted_linked(instruction):
                return await self._finish()
        first = first_posting(request, conversion=prepared.conversion, booking_date=booking_date)
        decided = await self._post(first)
        if request.kind is TransactionKind.TRANSFER and decided.posted:
            # How the debit is given back is known before the credit is tried.
            transit = Transit(debit=_as_booked(first, decided), debited=decided, conversion=prepared.conversion)
            refusal = await self._waits.before_credit()
            await self._bring(transit, transit.credit if refusal is None else transit.compensation(refusal))
        return await self._finish()

    async def _finish(self) -> TransactionResult:
        # The answer is out from here on: whoever waits on `final_result` has it, and publishing may take as long as it takes.
        workflow.upsert_search_attributes(visibility.attributes_of(self._result))
        self._show(visibility.final_details(self._result))
        publication = Publication(tenant=self._request.tenant, transaction_id=self._request.transaction_id)
        await call(NotificationActivities.publish, publication, policy=policies.PUBLISHING, summary="publish")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._result

    @workflow.update(
        description="Waits until the status is final, or somebody or some day is waited for. Publishing may still be under way."
    )
    async def final_result(self) -> TransactionResult:
        """The result, as soon as the transaction is posted or refused for good, or waits for what may take days."""
        await workflow.wait_condition(lambda: self._result.final or self._result.waiting_for is not None)
        return self._result

    @workflow.update(description="A second person lets the transaction go on. Only casaflow's API can send it, which says who asks.")
    async def approve(self, command: Command) -> TransactionResult:
        """Take an approval, and answer once the transaction is final, parked, or waits for its date."""
        return await self._decided(command)

    @approve.validator
    def _refuse_approval(self, command: Command) -> None:
        self._waits.refuse_decision(command, action=APPROVE)

    @workflow.update(description="A second person refuses the transaction. Only casaflow's API can send it, which says who asks.")
    async def decline(self, command: Command) -> TransactionResult:
        """Take a refusal, and answer once nothing is posted, or what was posted is compensated."""
        return await self._decided(command)

    @decline.validator
    def _refuse_decline(self, command: Command) -> None:
        self._waits.refuse_decision(command, action=DECLINE)

    @workflow.update(description="Ends the transaction before its posting has begun. Only casaflow's API can send it, which says who asks.")
    async def cancel(self, command: Command) -> TransactionResult:
        """Take a cancel, and answer once it is recorded that nothing is posted."""
        self._waits.cancel(command)
        await workflow.wait_condition(lambda: self._result.final)
        return self._result

    @cancel.validator
    def _refuse_cancel(self, command: Command) -> None:
        self._waits.refuse_cancel(command)

    async def _decided(self, command: Command) -> TransactionResult:
        self._waits.decide(command)
        await workflow.wait_condition(self._stands_after_a_decision)
        return self._result

    def _stands_after_a_decision(self) -> bool:
        waits_on = self._result.waiting_for is not None and self._result.waiting_for.what is not WaitingKind.APPROVAL
        return self._result.final or self._result.status is TransactionStatus.PARKED or waits_on

    def _show_wait(self, waiting_for: WaitingFor | None) -> None:
        self._result = self._result.model_copy(update={"waiting_for": waiting_for})
        workflow.upsert_search_attributes(visibility.waiting_attributes(waiting_for))
        self._show(visibility.waiting_details(self._request, waiting_for) if waiting_for is not None else "")

    async def _record(self, command: Command) -> None:
        """Keep a command with the transaction, for good."""
        action = OperatorAction.of(command)
        await call(CasaActivities.record_action, action, policy=policies.POSTING, summary=visibility.action_summary(action))

    @workflow.query(description="How the transaction stands now.")
    def current(self) -> TransactionResult:
        """The result so far; its status may be `processing` or `parked`."""
        return self._result

    async def _prepare(self, request: TransactionRequest, booking_date: dt.date) -> _Prepared:
        """What has to be known before the first posting. Nothing is posted here, so a cancel may interrupt it."""
        pair = conversion_pair(request)
        if pair is None:
            return _Prepared()
        quotation = await self._quote(*pair, booking_date)
        if quotation.rate is None:
            return _Prepared(refusal=quotation.refusal)
        conversion = convert(request.amount, quotation.rate)
        return _Prepared(conversion=conversion, refusal=conversion_refusal(conversion))

    async def _settled_without_a_rate(self, refusal: Refusal) -> bool:
        """Stand parked, since the credit needs a rate and there is none; False: it is tried once more."""
        debited = next((leg for leg in self._result.legs if leg.leg is LegName.DEBIT and leg.posted), None)
        what = "the rate for the next leg"
        if debited is None or not self._request.is_plain:
            await self._park(what, why=refusal.detail, remedies=Remedies(), reason=refusal.code)
            return False
        refused = [leg for leg in self._result.legs if not leg.posted]
        transit = Transit(debit=booked_debit(self._request, debited), debited=debited, conversion=None, refused=refused)
        command = await self._park(what, why=refusal.detail, remedies=transit.remedies, reason=refusal.code)
        if command is None or command.action not in {SETTLE_TO, REVERSE}:
            return False
        await self._bring(transit, transit.after(transit.compensation(), command))
        return True

    async def _quote(self, base: str, quote: str, booking_date: dt.date) -> Quotation:
        inquiry = RateInquiry(
            tenant=self._request.tenant,
            transaction_id=self._request.transaction_id,
            base=base,
            quote=quote,
            booking_date=booking_date,
        )
        try:
            return await call(ExchangeRateActivities.quote, inquiry, policy=policies.RATE, summary=f"rate {base}/{quote}")
        except ActivityError:
            detail = f"the source of exchange rates gave no {base}/{quote} rate within {policies.RATE.deadline}"
            return Quotation(refusal=Refusal(code=RefusalCode.RATE_UNAVAILABLE, detail=detail))

    async def _rejected(self, refusal: Refusal) -> bool:
        """Record that nothing is posted; False when the ledger knows better, and the transaction has to go on."""
        rejection = Rejection(request=self._request, refusal=refusal)
        self._result = await call(CasaActivities.reject, rejection, policy=policies.POSTING, summary=f"reject: {refusal.code}")
        return self._result.final

    async def _post(self, posting: Posting) -> Decision:
        """Book one leg. What can't be booked raises ApplicationError, and leaves everything as it was."""
        decision = await call(CasaActivities.post, posting, policy=policies.POSTING, summary=visibility.leg_summary(posting))
        self._result = TransactionResult(
            transaction_id=posting.request.transaction_id,
            status=posting.status_if_posted if decision.posted else posting.status_if_refused,
            reason=posting.because or decision.refusal,
            legs=(*posting.earlier, decision),
        )
        return decision

    async def _bring(self, transit: Transit, posting: Posting) -> None:
        """Bring money that is in transit to somebody: to the creditor, back to the debtor, or where an operator says."""
        while True:
            if posting.leg is LegName.COMPENSATION:
                self._show(visibility.compensating_details(posting))
            try:
                decision = await self._post(posting)
            except ApplicationError as defect:
                why, reason = f"{defect.type}: {defect.message}", defect.type
            else:
                if decision.posted:
                    break
                why = decision.refusal.detail if decision.refusal is not None else "it was refused"
                reason = decision.refusal.code if decision.refusal is not None else None
                if posting.leg is LegName.CREDIT:
                    transit.refused.append(decision)
                    if posting.account is None:
                        posting = transit.compensation()
                        continue
            command = await self._park(visibility.leg_summary(posting), why=why, remedies=transit.remedies, reason=reason)
            posting = transit.after(posting, command)
        self._show("")

    async def _posted_linked(self, instruction: LinkedInstruction) -> bool:
        """Book all legs at once, or none. A defect fails the workflow, since nothing is posted.

        What an earlier run began leg by leg can't be posted together any more: a plain transfer goes on leg by leg (False), anything else
        parks.
        """
        what = visibility.linked_summary(instruction.request)
        while True:
            self._result = await call(CasaActivities.post_linked, instruction, policy=policies.POSTING, summary=what)
            if self._result.final:
                return True
            if instruction.request.is_plain:
                return False
            why = "legs of this transaction were posted one by one before, so they can't be posted together any more"
            await self._park(what, why=why, remedies=Remedies())


def _as_booked(debit: Posting, decided: Decision) -> Posting:
    """The debit as the ledger has it. It may stem from an earlier run, at another rate; what follows must match it to the cent."""
    return debit.model_copy(update={"amount": decided.amount, "conversion": decided.conversion, "value_date": decided.value_date})
