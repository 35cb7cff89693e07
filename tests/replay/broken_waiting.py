"""Changes that break holds, standing orders and payment files that run, as somebody might make them in good faith."""

from __future__ import annotations

from temporalio import workflow

from activities.standing_orders import DueTransaction
from ledger.holds import Hold
from ledger.payment_files import FileKey, FileProgress
from ledger.results import TransactionResult
from ledger.standing_orders import OrderKey
from workflows.hold import HoldInstruction, HoldWorkflow
from workflows.payment_file import PaymentFileWorkflow
from workflows.standing_order import OrderRunOutcome, StandingOrderWorkflow


@workflow.defn(name="HoldWorkflow")
class ExpiresWithoutPublishing(HoldWorkflow):
    """One activity less."""

    @workflow.init
    def __init__(self, instruction: HoldInstruction) -> None:
        super().__init__(instruction)

    @workflow.run
    async def run(self, instruction: HoldInstruction) -> Hold:
        return await super().run(instruction)

    async def _publish(self) -> None:
        return


@workflow.defn(name="StandingOrderWorkflow")
class ForgetsToRecord(StandingOrderWorkflow):
    """One activity less."""

    @workflow.run
    async def run(self, key: OrderKey) -> OrderRunOutcome:
        return await super().run(key)

    async def _record(self, due: DueTransaction, result: TransactionResult) -> None:  # noqa: ARG002  as the real one
        return


@workflow.defn(name="PaymentFileWorkflow")
class ShowsNothing(PaymentFileWorkflow):
    """No search attributes any more."""

    @workflow.run
    async def run(self, key: FileKey) -> FileProgress:
        return await super().run(key)

    def _show(self, progress: FileProgress) -> None:
        self._progress = progress
