"""What `open_accounts` returns of an account, as the state that legs, holds and changes of rules are decided on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.accounts import AccountState, AccountStatus

if TYPE_CHECKING:
    from collections.abc import Sequence


def account_state(row: Sequence[Any]) -> AccountState:
    """The state in a row of `open_accounts`, whose columns are in its order: tenant first, the instant of the opening last.

    Sums come as decimals, and are whole. Where the online row isn't locked, the balance isn't known.
    """
    (
        _, account_id, currency, status, overdraft_limit, minimum_balance, maximum_balance, transaction_limit, daily_limit, monthly_limit,
        local_day, spent_on_day, spent_in_month, locked, ledger, held, version, _,
    ) = row  # fmt: skip
    rules = AccountState(
        account_id=account_id,
        currency=currency,
        status=AccountStatus(status),
        overdraft_limit=overdraft_limit,
        minimum_balance=minimum_balance,
        maximum_balance=maximum_balance,
        transaction_limit=transaction_limit,
        daily_limit=daily_limit,
        monthly_limit=monthly_limit,
        local_day=local_day,
        locked=locked,
    )
    if not locked:
        return rules
    return rules._replace(
        spent_on_day=int(spent_on_day), spent_in_month=int(spent_in_month), ledger=int(ledger), held=int(held), version=version
    )
