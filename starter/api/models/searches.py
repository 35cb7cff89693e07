"""Searches of transactions, accounts and holds, as the API takes and answers them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.config import JsonDict

from ledger.accounts import AccountKind, AccountStatus
from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError
from ledger.holds import HoldStatus
from ledger.ids import parse_account_id
from ledger.money import Money
from ledger.requests import MAX_REFERENCE_LENGTH, TransactionKind
from ledger.results import TransactionStatus
from ledger.searches import DEFAULT_PAGE, MAX_PAGE, AccountSearch, HoldSearch, SearchOrder, TransactionSearch
from ledger.statements import parse_instant
from starter.api.models.accounts import AccountView
from starter.api.models.fields import AccountId, Answer, Currency, StrictBody, Text
from starter.api.models.holds import HoldView
from starter.api.models.transactions import TransactionView

_AMOUNT_SCHEMA: JsonDict = {"pattern": r"^[0-9]+(\.[0-9]+)?$"}
_INSTANT_SCHEMA: JsonDict = {"format": "date-time"}
_NEXT = "`next_cursor` of the page before, with the same search."


class _PageQuery(StrictBody):
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Of what is found, on one page at most.")
    cursor: Annotated[str, Field(max_length=600)] | None = Field(default=None, description=_NEXT)


class TransactionQuery(_PageQuery):
    """Which transactions: those that all given conditions hold for."""

    account_id: AccountId | None = Field(default=None, description="Debtor or creditor, one of several included.")
    status: TransactionStatus | None = None
    kind: TransactionKind | None = None
    currency: Currency | None = Field(default=None, description="Of the amount.")
    amount: str | None = Field(default=None, description="Exactly this amount of `currency`.", json_schema_extra=_AMOUNT_SCHEMA)
    amount_min: str | None = Field(default=None, description="This amount of `currency` or more.", json_schema_extra=_AMOUNT_SCHEMA)
    amount_max: str | None = Field(default=None, description="This amount of `currency` or less.", json_schema_extra=_AMOUNT_SCHEMA)
    submitted_from: str | None = Field(default=None, description="Submitted then or later (RFC 3339).", json_schema_extra=_INSTANT_SCHEMA)
    submitted_to: str | None = Field(default=None, description="Submitted before then (RFC 3339).", json_schema_extra=_INSTANT_SCHEMA)
    reference: Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)] | None = None
    reason: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,63}$")] | None = Field(
        default=None, description="Code of the reason why it was rejected or reversed, such as `insufficient-funds`."
    )
    submitted_by: Annotated[Text, Field(min_length=1, max_length=140)] | None = Field(default=None, description="The principal.")
    order: SearchOrder = Field(default=SearchOrder.NEWEST_FIRST, description="By the time of submission.")

    def search(self) -> TransactionSearch:
        """The ledger's form.

        Raises:
            InvalidInputError: a condition breaks a rule.
        """
        least, most = self._amounts()
        return TransactionSearch(
            account_id=_account_id(self.account_id),
            status=self.status,
            kind=self.kind,
            currency=_currency(self.currency),
            least=least,
            most=most,
            submitted_from=parse_instant(self.submitted_from, field="submitted_from") if self.submitted_from is not None else None,
            submitted_until=parse_instant(self.submitted_to, field="submitted_to") if self.submitted_to is not None else None,
            reference=self.reference,
            reason=self.reason,
            submitted_by=self.submitted_by,
            order=self.order,
        )

    def _amounts(self) -> tuple[int | None, int | None]:
        given = {name: value for name in ("amount", "amount_min", "amount_max") if (value := getattr(self, name)) is not None}
        if not given:
            return None, None
        if self.currency is None:
            raise InvalidInputError(field="currency", value=None, rule="must be given with an amount")
        units = {name: Money.parse(value, self.currency, field=name).minor_units for name, value in given.items()}
        if "amount" in units and len(units) > 1:
            raise InvalidInputError(field="amount", value=self.amount, rule="must be left out beside amount_min or amount_max")
        return units.get("amount", units.get("amount_min")), units.get("amount", units.get("amount_max"))


class AccountQuery(_PageQuery):
    """Which accounts: those that all given conditions hold for."""

    prefix: AccountId | None = Field(default=None, description="What the id begins with.")
    status: AccountStatus | None = None
    currency: Currency | None = None
    kind: AccountKind | None = None

    def search(self) -> AccountSearch:
        """The ledger's form.

        Raises:
            InvalidInputError: a condition breaks a rule.
        """
        prefix = parse_account_id(self.prefix, field="prefix") if self.prefix is not None else None
        return AccountSearch(prefix=prefix, status=self.status, currency=_currency(self.currency), kind=self.kind)


class HoldQuery(_PageQuery):
    """Which holds: those that all given conditions hold for."""

    account_id: AccountId | None = None
    status: HoldStatus | None = None
    order: SearchOrder = Field(default=SearchOrder.NEWEST_FIRST, description="By the time of authorisation.")

    def search(self) -> HoldSearch:
        """The ledger's form.

        Raises:
            InvalidInputError: a condition breaks a rule.
        """
        return HoldSearch(account_id=_account_id(self.account_id), status=self.status, order=self.order)


class _Page(Answer):
    next_cursor: str | None
    """Of the next page; null: there is no more now. A page may be short, or empty, and still have one."""


class TransactionsView(_Page):
    """A page of transactions."""

    transactions: list[TransactionView]


class AccountsView(_Page):
    """A page of accounts, in the order of their ids."""

    accounts: list[AccountView]


class HoldsView(_Page):
    """A page of holds."""

    holds: list[HoldView]


def _account_id(value: str | None) -> str | None:
    return parse_account_id(value, field="account_id") if value is not None else None


def _currency(value: str | None) -> str | None:
    if value is not None:
        exponent_of(value)
    return value
