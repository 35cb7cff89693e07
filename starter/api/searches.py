"""Searches: transactions, accounts and holds by conditions, in pages."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query

from ledger.principals import Principal
from ledger.results import TransactionRecord
from ledger.searches import Page
from starter.api.models.accounts import AccountView
from starter.api.models.holds import HoldView
from starter.api.models.searches import AccountQuery, AccountsView, HoldQuery, HoldsView, TransactionQuery, TransactionsView
from starter.api.models.transactions import TransactionView
from starter.api.services import ReadsAccounts, ReadsTransactions, Services, UsesServices

router = APIRouter(prefix="/v1")

_AT_ONCE: Final = 16
"""Transactions of a page that Temporal is asked about at one time; those that are final, which are nearly all, need no question."""


@router.get("/transactions", tags=["transactions"])
async def list_transactions(
    query: Annotated[TransactionQuery, Query()], services: UsesServices, principal: ReadsTransactions
) -> TransactionsView:
    """Transactions that all given conditions hold for, by the time of their submission.

    Among them is every transaction of which something is recorded: a posted leg, or an outcome. One that has only been accepted (it waits
    for an approval or its date, or its first posting is under way) is not: it is found by its id.

    A page looks at 20,000 rows at most, along the first of these conditions that is given: `reference`, `account_id`, a `status` other than
    `completed`, `reason`, else the range of `submitted_from` and `submitted_to`, which also narrows the others. Further conditions are
    checked on those rows. Where few of them fit, a page is short, or empty, and `next_cursor` says where to go on. With `status=parked`
    each transaction is parked now; `processing` are those that move on by themselves.
    """
    found = await services.searches.transactions(principal.tenant, query.search(), cursor=query.cursor, limit=query.limit)
    views = await _as_they_stand(found, services, principal)
    wanted = [view for view in views if query.status is None or view.status is query.status]
    return TransactionsView(transactions=wanted, next_cursor=found.next_cursor)


async def _as_they_stand(page: Page[TransactionRecord], services: Services, principal: Principal) -> list[TransactionView]:
    """The transactions of a page; of those that are not final the workflow shows whether they are parked, as when one is looked up."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def view(record: TransactionRecord) -> TransactionView:
        if record.result.final:
            return TransactionView.of(record.result, record.request, reversed_amount=record.reversed_amount, actions=record.actions)
        async with slots:
            standing = await services.starter.look_up(principal.tenant, record.result.transaction_id)
        return TransactionView.of(standing.result, standing.request, reversed_amount=standing.reversed_amount, actions=standing.actions)

    return list(await asyncio.gather(*(view(record) for record in page.found)))


@router.get("/accounts", tags=["accounts"])
async def list_accounts(query: Annotated[AccountQuery, Query()], services: UsesServices, principal: ReadsAccounts) -> AccountsView:
    """Accounts that all given conditions hold for, in the order of their ids. A prefix and a status other than `active` narrow it best."""
    found = await services.searches.accounts(principal.tenant, query.search(), cursor=query.cursor, limit=query.limit)
    return AccountsView(accounts=[AccountView.of(account) for account in found.found], next_cursor=found.next_cursor)


@router.get("/holds", tags=["holds"])
async def list_holds(query: Annotated[HoldQuery, Query()], services: UsesServices, principal: ReadsTransactions) -> HoldsView:
    """Holds that all given conditions hold for, by the time of their authorisation. An account, or `status=open`, narrows it best."""
    found = await services.searches.holds(principal.tenant, query.search(), cursor=query.cursor, limit=query.limit)
    return HoldsView(holds=[HoldView.of(hold) for hold in found.found], next_cursor=found.next_cursor)
