"""The second half of a transfer that is posted leg by leg: money that has left the debtor, and has to come to somebody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ledger.commands import REVERSE, SETTLE_TO
from ledger.decisions import Decision, LegName
from ledger.postings import compensation_posting, credit_posting, settlement_posting
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef
from workflows.parking import Remedies

if TYPE_CHECKING:
    from ledger.commands import Command
    from ledger.postings import Posting
    from ledger.rates import Conversion


@dataclass
class Transit:
    """A debit that is posted, and how it is given back: known before the credit is tried, so that no failure of it leaves money nowhere."""

    debit: Posting
    """As it is booked."""
    debited: Decision
    conversion: Conversion | None
    """Of the request's amount; None where nothing is converted, or where there is no rate."""
    refused: list[Decision] = field(default_factory=list)
    """Credits that were refused for good."""

    @property
    def credit(self) -> Posting:
        """The credit of the creditor."""
        return credit_posting(self.debit, self.debited, conversion=self.conversion)

    def compensation(self, because: Refusal | None = None) -> Posting:
        """What gives the debtor the money back: after a refused credit for its reason, otherwise for the one that is given."""
        return compensation_posting(self.debit, self.debited, *self.refused, because=because)

    def after(self, posting: Posting, command: Command | None) -> Posting:
        """What is posted next once an operator has said what to do where `posting` was parked; None: the same again."""
        if command is None or command.action not in {SETTLE_TO, REVERSE}:
            return posting
        if command.action == SETTLE_TO and command.account_id is not None and command.currency is not None:
            account = AccountRef(account_id=command.account_id, currency=command.currency)
            return settlement_posting(self.debit, self.debited, *self.refused, account=account, conversion=self.conversion)
        if posting.leg is LegName.COMPENSATION:
            return posting
        return self.compensation(None if self.refused else by_operator(command))

    @property
    def remedies(self) -> Remedies:
        """What an operator can do, wherever the money stands still."""
        currencies = [self.debited.amount.currency]
        creditor = self.debit.request.creditor
        if creditor is not None and (self.conversion is not None or creditor.currency == self.debit.request.amount.currency):
            currencies.append(creditor.currency)
        return Remedies(currencies=tuple(dict.fromkeys(currencies)), reverses=True)


def by_operator(command: Command) -> Refusal:
    """The reason of a transaction that an operator has reversed."""
    said = f": {command.reason}" if command.reason else ""
    return Refusal(code=RefusalCode.REVERSED_BY_OPERATOR, detail=f"it stood parked, and {command.by} had the money given back{said}")
