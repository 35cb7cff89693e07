"""Changes of an account's rules and status. Pure: the account under its locks comes in, the account after it comes out, or why not.

See ``docs/decisions/0011-rules-and-holds.md``.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ledger.accounts import Account, AccountRules, AccountStatus
from ledger.errors import (
    AccountClosedError,
    AccountFrozenError,
    AccountNotClosableError,
    InvalidInputError,
    OverdraftInUseError,
)
from ledger.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.accounts import AccountState

TIME_ZONE_RULE: Final = "must be the name of a time zone in the IANA database, such as Europe/Prague"
_TIME_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*(?:/[A-Za-z0-9+_-]+){0,2}", re.ASCII)
_LONGEST_TIME_ZONE: Final = 64


class StatusChange(StrEnum):
    """What may be asked of an account's status. Asking for what is so already changes nothing."""

    FREEZE = "freeze"
    """Refuse debits and credits."""
    FREEZE_DEBITS = "freeze-debits"
    FREEZE_CREDITS = "freeze-credits"
    UNFREEZE = "unfreeze"
    """Give back the status before the first of its freezes."""
    DORMANT = "dormant"
    """Refuse the customer's debits until the account is reactivated."""
    REACTIVATE = "reactivate"


_FROZEN: Final = {AccountStatus.FROZEN, AccountStatus.DEBIT_FROZEN, AccountStatus.CREDIT_FROZEN}
_SIDE: Final = {
    StatusChange.FREEZE: AccountStatus.FROZEN,
    StatusChange.FREEZE_DEBITS: AccountStatus.DEBIT_FROZEN,
    StatusChange.FREEZE_CREDITS: AccountStatus.CREDIT_FROZEN,
}


def after_status_change(account: Account, change: StatusChange) -> Account:
    """The account after `change`.

    Raises:
        AccountClosedError: it is closed.
        AccountFrozenError: it is frozen, and `change` isn't about a freeze.
    """
    if account.status is AccountStatus.CLOSED:
        raise AccountClosedError(account_id=account.account_id, value=change.value)
    # Frozen by a version that did not note what came before: only active accounts could be.
    before = account.status_before_freeze or (AccountStatus.ACTIVE if account.status in _FROZEN else account.status)
    if change in _SIDE:
        return _with_status(account, _frozen(account.status, before, _SIDE[change]), before_freeze=before)
    if change is StatusChange.UNFREEZE:
        return _with_status(account, before)
    wanted = AccountStatus.DORMANT if change is StatusChange.DORMANT else AccountStatus.ACTIVE
    if account.status in _FROZEN:
        raise AccountFrozenError(account_id=account.account_id, value=wanted.value)
    return _with_status(account, wanted)


def _frozen(status: AccountStatus, before: AccountStatus, side: AccountStatus) -> AccountStatus:
    if status in _FROZEN and status is not side:
        return AccountStatus.FROZEN
    # A dormant account takes no debit of its customer. "Frozen for credits" alone would let them through.
    if before is AccountStatus.DORMANT and side is AccountStatus.CREDIT_FROZEN:
        return AccountStatus.FROZEN
    return side


def _with_status(account: Account, status: AccountStatus, *, before_freeze: AccountStatus | None = None) -> Account:
    return account.model_copy(update={"status": status, "status_before_freeze": before_freeze})


def after_close(account: Account, state: AccountState, *, open_transactions: int) -> Account:
    """The account once it is closed; closing a closed account changes nothing.

    Args:
        account: as it stands.
        state: its balance; expired holds no longer count as held.
        open_transactions: of which it is the debtor, and which may still give it money back.

    Raises:
        AccountNotClosableError: money, a hold or an open transaction is left.
    """
    if account.status is AccountStatus.CLOSED:
        return account
    for holds_it_open, rule in (
        (state.ledger, "its ledger balance must be zero"),
        (state.held, "it must have no open hold"),
        (open_transactions, "its transactions must have ended"),
    ):
        if holds_it_open:
            raise AccountNotClosableError(account_id=account.account_id, rule=rule)
    return _with_status(account, AccountStatus.CLOSED)


def after_rules_change(account: Account, state: AccountState, changes: Mapping[str, int | str | None]) -> Account:
    """The account with other rules. What is decided already stays, whatever the new rules say of it.

    Args:
        account: as it stands.
        state: its balance, under lock.
        changes: new values by the fields of :class:`AccountRules`; None takes a maximum or a limit away.

    Raises:
        AccountClosedError: it is closed.
        OverdraftInUseError: the new overdraft limit is less than what is used of it.
        pydantic.ValidationError: a value that isn't one of the field's.
    """
    rules = AccountRules.model_validate({**account.model_dump(include=set(AccountRules.model_fields)), **changes})
    if account.status is AccountStatus.CLOSED:
        field, value = next(iter(changes.items()), ("status", None))
        raise AccountClosedError(account_id=account.account_id, field=field, value=value)
    used = state.held - state.ledger
    if "overdraft_limit" in changes and rules.overdraft_limit < used:
        limit, least = (Money(minor_units=units, currency=account.currency).decimal_string for units in (rules.overdraft_limit, used))
        raise OverdraftInUseError(account_id=account.account_id, limit=limit, used=least)
    return account.model_copy(update=rules.model_dump())


def parse_time_zone(value: object, *, field: str = "time_zone") -> str:
    """A name that the IANA time zone database may have; whether it has it, the ledger's database says.

    Raises:
        InvalidInputError: anything else.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_TIME_ZONE or not _TIME_ZONE.fullmatch(value):
        raise InvalidInputError(field=field, value=value, rule=TIME_ZONE_RULE)
    return value
