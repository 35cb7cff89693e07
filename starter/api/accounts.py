"""Accounts: open, read, balance, freeze, unfreeze, close."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from ledger.accounts import Account, AccountKind, AccountStatus
from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError, NotFoundError
from ledger.ids import parse_account_id
from ledger.money import Money
from ledger.statements import parse_instant
from starter.api.answers import LOCATION, answer
from starter.api.models import AccountBody, AccountView, BalanceQuery, BalanceView
from starter.api.services import Authenticated, UsesServices

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

_NOT_FOUND: Final = answer(404, "The tenant has no such account.")
_CLOSED: Final = answer(409, "The account is closed for good.")
_NOT_CLOSABLE: Final = answer(409, "It has money, a hold or an open transaction.")
_ZERO: Final = re.compile(r"0+(?:\.(?P<decimals>0+))?", re.ASCII)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": AccountView, "description": "It was opened before, with the same content.", "headers": LOCATION},
        201: {"description": "It is open.", "headers": LOCATION},
        409: {"description": "The id was used before with other content."},
    },
)
async def open_account(body: AccountBody, response: Response, services: UsesServices, principal: Authenticated) -> AccountView:
    """Open an account. The same request again answers 200; other content under the same id 409."""
    account_id = parse_account_id(body.account_id, field="account_id")
    exponent_of(body.currency)
    limit = _limit(body.overdraft_limit, body.currency)
    account, opened = await services.accounts.open_account(
        tenant=principal.tenant,
        account_id=account_id,
        currency=body.currency,
        kind=AccountKind(body.kind),
        overdraft_limit=limit,
    )
    response.status_code = HTTPStatus.CREATED if opened else HTTPStatus.OK
    response.headers["Location"] = f"/v1/accounts/{account_id}"
    return AccountView.of(account)


def _limit(value: object, currency: str) -> int:
    # Zero is a valid limit, but not a valid amount.
    zero = _ZERO.fullmatch(value) if isinstance(value, str) else None
    if zero is not None and len(zero["decimals"] or "") <= exponent_of(currency):
        return 0
    return Money.parse(value, currency, field="overdraft_limit").minor_units


@router.get("/{account_id}", responses=_NOT_FOUND)
async def read_account(account_id: str, services: UsesServices, principal: Authenticated) -> AccountView:
    """An account and its rules."""
    account = await services.accounts.get(principal.tenant, parse_account_id(account_id, field="account_id"))
    return AccountView.of(_found(account, account_id))


@router.get("/{account_id}/balance", responses=_NOT_FOUND, response_model_exclude_none=True)
async def read_balance(
    account_id: str, query: Annotated[BalanceQuery, Query()], services: UsesServices, principal: Authenticated
) -> BalanceView:
    """The balance at this instant, as of another instant, or as of a value date."""
    parse_account_id(account_id, field="account_id")
    if query.at is not None and query.value_date is not None:
        raise InvalidInputError(field="value_date", value=query.value_date.isoformat(), rule="must not be given together with at")
    if query.at is not None:
        at = parse_instant(query.at, field="at")
        return BalanceView.of_past(await services.statements.balance_at(principal.tenant, account_id, at))
    if query.value_date is not None:
        return BalanceView.of_past(await services.statements.balance_on(principal.tenant, account_id, query.value_date))
    balance = await services.accounts.balance(principal.tenant, account_id)
    if balance is None:
        raise NotFoundError(kind="account", identifier=account_id)
    return BalanceView.of(balance)


@router.post("/{account_id}/freeze", responses=_NOT_FOUND | _CLOSED)
async def freeze(account_id: str, services: UsesServices, principal: Authenticated) -> AccountView:
    """Refuse all debits and credits from now on. What is decided already stays; a compensation still arrives."""
    return await _change(account_id, AccountStatus.FROZEN, services, principal)


@router.post("/{account_id}/unfreeze", responses=_NOT_FOUND | _CLOSED)
async def unfreeze(account_id: str, services: UsesServices, principal: Authenticated) -> AccountView:
    """Make a frozen account active again."""
    return await _change(account_id, AccountStatus.ACTIVE, services, principal)


@router.post("/{account_id}/close", responses=_NOT_FOUND | _NOT_CLOSABLE)
async def close(account_id: str, services: UsesServices, principal: Authenticated) -> AccountView:
    """Close an account for good. It must have no money, no hold and no open transaction."""
    return AccountView.of(await services.accounts.close(principal.tenant, parse_account_id(account_id, field="account_id")))


async def _change(account_id: str, status: AccountStatus, services: UsesServices, principal: Authenticated) -> AccountView:
    account = await services.accounts.change_status(principal.tenant, parse_account_id(account_id, field="account_id"), status)
    return AccountView.of(account)


def _found(account: Account | None, account_id: str) -> Account:
    if account is None:
        raise NotFoundError(kind="account", identifier=account_id)
    return account
