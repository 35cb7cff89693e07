"""Accounts: open, read, balance, change of rules and status, close."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from ledger.accounts import Account, AccountKind, AccountRules
from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError, NotFoundError
from ledger.ids import parse_account_id
from ledger.money import Money
from ledger.principals import Principal
from ledger.rules import StatusChange, parse_time_zone
from ledger.statements import parse_instant
from starter.api.answers import LOCATION, answer
from starter.api.models.accounts import AccountBody, AccountView, BalanceQuery, BalanceView, FreezeBody, RulesBody
from starter.api.models.fields import AMOUNT_RULES
from starter.api.services import ReadsAccounts, Services, UsesServices, WritesAccounts

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

_NOT_FOUND: Final = answer(404, "The tenant has no such account.")
_CLOSED: Final = answer(409, "The account is closed for good (`account-closed`).")
_FROZEN: Final = answer(409, "The account is frozen (`account-frozen`), or closed for good (`account-closed`).")
_NOT_CHANGEABLE: Final = answer(
    409, "The account is closed for good (`account-closed`), or uses more of its overdraft than the new limit (`overdraft-in-use`)."
)
_NOT_CLOSABLE: Final = answer(409, "It has money, a hold or an open transaction (`account-not-closable`).")
_FREEZES: Final = {"debits": StatusChange.FREEZE_DEBITS, "credits": StatusChange.FREEZE_CREDITS, "both": StatusChange.FREEZE}
_OPTIONAL_RULES: Final = frozenset({"maximum_balance", "transaction_limit", "daily_limit", "monthly_limit"})
_ZERO: Final = re.compile(r"0+(?:\.(?P<decimals>0+))?", re.ASCII)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": AccountView, "description": "It was opened before, with the same content.", "headers": LOCATION},
        201: {"description": "It is open.", "headers": LOCATION},
        409: {"description": "The id was used before with other content (`account-conflict`)."},
    },
)
async def open_account(body: AccountBody, response: Response, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Open an account. The same request again answers 200; other content under the same id 409."""
    account_id = parse_account_id(body.account_id, field="account_id")
    exponent_of(body.currency)
    rules = AccountRules.model_validate(_rules(body, body.currency))
    account, opened = await services.accounts.open_account(
        tenant=principal.tenant,
        account_id=account_id,
        currency=body.currency,
        kind=AccountKind(body.kind),
        rules=rules,
        actor=principal.actor,
    )
    response.status_code = HTTPStatus.CREATED if opened else HTTPStatus.OK
    response.headers["Location"] = f"/v1/accounts/{account_id}"
    return AccountView.of(account)


def _rules(body: RulesBody, currency: str) -> dict[str, int | str | None]:
    """The rules that a body gives, amounts in minor units.

    Raises:
        InvalidInputError: one of them isn't a value of its field.
    """
    given = body.model_fields_set & set(RulesBody.model_fields)
    rules: dict[str, int | str | None] = {name: _amount(getattr(body, name), currency, name) for name in AMOUNT_RULES if name in given}
    if "time_zone" in given:
        rules["time_zone"] = parse_time_zone(body.time_zone)
    return rules


def _amount(value: object, currency: str, field: str) -> int | None:
    if value is None and field in _OPTIONAL_RULES:
        return None
    # Zero is a valid limit, but not a valid amount; nor is it a maximum, which no account could ever keep to with money on it.
    zero = _ZERO.fullmatch(value) if isinstance(value, str) and field != "maximum_balance" else None
    if zero is not None and len(zero["decimals"] or "") <= exponent_of(currency):
        return 0
    return Money.parse(value, currency, field=field).minor_units


@router.get("/{account_id}", responses=_NOT_FOUND)
async def read_account(account_id: str, services: UsesServices, principal: ReadsAccounts) -> AccountView:
    """An account and its rules."""
    account = await services.accounts.get(principal.tenant, parse_account_id(account_id, field="account_id"))
    return AccountView.of(_found(account, account_id))


@router.get("/{account_id}/balance", responses=_NOT_FOUND, response_model_exclude_none=True)
async def read_balance(
    account_id: str, query: Annotated[BalanceQuery, Query()], services: UsesServices, principal: ReadsAccounts
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


@router.patch("/{account_id}", responses=_NOT_FOUND | _NOT_CHANGEABLE)
async def change_rules(account_id: str, body: RulesBody, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Give an account other rules: those that the body names. null takes a maximum or a limit away.

    Transactions in flight are decided before the change or after it. What was decided before stays, whatever the new rules say of it.
    """
    tenant, account_id = principal.tenant, parse_account_id(account_id, field="account_id")
    # Its currency never changes, so this look needs no lock.
    account = _found(await services.accounts.get(tenant, account_id), account_id)
    changes = _rules(body, account.currency)
    return AccountView.of(await services.accounts.change_rules(tenant, account_id, changes, by=principal.name, actor=principal.actor))


@router.post("/{account_id}/freeze", responses=_NOT_FOUND | _CLOSED)
async def freeze(account_id: str, services: UsesServices, principal: WritesAccounts, body: FreezeBody | None = None) -> AccountView:
    """Refuse debits, credits, or both from now on. What is decided already stays; a compensation still arrives.

    A second freeze adds to the first. A dormant account that is frozen for credits is frozen for both, since it takes no debits.
    """
    return await _change(account_id, _FREEZES[(body or FreezeBody()).side], services, principal)


@router.post("/{account_id}/unfreeze", responses=_NOT_FOUND | _CLOSED)
async def unfreeze(account_id: str, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Give a frozen account back the status that it had before, on both sides. Nothing changes for one that isn't frozen."""
    return await _change(account_id, StatusChange.UNFREEZE, services, principal)


@router.post("/{account_id}/dormant", responses=_NOT_FOUND | _FROZEN)
async def make_dormant(account_id: str, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Refuse the customer's debits and holds until the account is reactivated."""
    return await _change(account_id, StatusChange.DORMANT, services, principal)


@router.post("/{account_id}/reactivate", responses=_NOT_FOUND | _FROZEN)
async def reactivate(account_id: str, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Make a dormant account active again."""
    return await _change(account_id, StatusChange.REACTIVATE, services, principal)


@router.post("/{account_id}/close", responses=_NOT_FOUND | _NOT_CLOSABLE)
async def close(account_id: str, services: UsesServices, principal: WritesAccounts) -> AccountView:
    """Close an account for good. It must have no money, no hold and no open transaction."""
    closed = await services.accounts.close(
        principal.tenant, parse_account_id(account_id, field="account_id"), by=principal.name, actor=principal.actor
    )
    return AccountView.of(closed)


async def _change(account_id: str, change: StatusChange, services: Services, principal: Principal) -> AccountView:
    tenant, account_id = principal.tenant, parse_account_id(account_id, field="account_id")
    return AccountView.of(await services.accounts.change_status(tenant, account_id, change, by=principal.name, actor=principal.actor))


def _found(account: Account | None, account_id: str) -> Account:
    if account is None:
        raise NotFoundError(kind="account", identifier=account_id)
    return account
