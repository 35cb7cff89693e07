"""Transactions: submit, wait, look up."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Header, Response

from ledger.accounts import Account, AccountKind
from ledger.commands import RETRY, REVERSE, SETTLE_TO
from ledger.errors import InvalidInputError, TransactionNotFinalError, UnknownAccountError
from ledger.holds import Hold
from ledger.ids import (
    capture_transaction_id,
    key_transaction_id,
    parse_account_id,
    parse_transaction_id,
    reversal_transaction_id,
)
from ledger.money import Money
from ledger.principals import Principal
from ledger.requests import MAX_LEGS, MAX_SHARES, AccountRef, Override, Share, TransactionRequest
from ledger.results import TransactionStatus
from ledger.reversals import reversal_request, reversible
from ledger.scopes import Scope
from starter.api.answers import LOCATION, answer
from starter.api.models.holds import CaptureBody
from starter.api.models.transactions import OverrideBody, RetryBody, ReversalBody, SettlementBody, TransactionBody, TransactionView
from starter.api.services import OperatesTransactions, ReadsTransactions, ReversesTransactions, Services, UsesServices, WritesTransactions

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

MAX_WAIT_SECONDS: Final = 60
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*([0-9]{1,9})\s*(?:$|[,;])", re.ASCII)
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": TransactionView, "description": "A repeat, and it is final.", "headers": LOCATION},
    201: {"model": TransactionView, "description": "It is final.", "headers": LOCATION},
    202: {"model": TransactionView, "description": "It is under way; look it up at Location.", "headers": LOCATION},
}
"""How every endpoint answers that starts a transaction."""
_COMMANDED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": TransactionView, "description": "It is final.", "headers": LOCATION},
    202: {"model": TransactionView, "description": "It goes on, or is parked again; look it up at Location.", "headers": LOCATION},
    403: {
        "description": "The key lacks the scope `transactions:operate` (`missing-scope`), or the workers trust no secret of this API "
        "(`unauthenticated-command`)."
    },
    404: {"description": "The tenant has no such transaction."},
    409: {"description": "It is not parked (`transaction-not-parked`), or is parked where this can't mend it (`action-not-possible`)."},
}
_MAY_OVERRIDE: Final = answer(
    403, "The key lacks the scope `transactions:write`, or, where there is an override, `transactions:override` (`missing-scope`)."
)
IdempotencyKey = Annotated[str | None, Header(description="A request with the same key and body joins the first one.")]
Prefer = Annotated[str | None, Header(description="`wait=N`: answer when final, after N seconds at most (RFC 7240).")]
_NEEDS_A_DEBTOR: Final = "must be left out: it concerns a debtor, and there is none"
_LATER_FIELDS: Final = {
    **dict.fromkeys(("creditors", "fee", "override", "approval", "requested_execution_date")),
    "balancing": False,
}
"""Fields of a transaction's body that came after keys were first bound to bodies, as they are when they aren't used."""


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        **ANSWERS,
        **_MAY_OVERRIDE,
        409: {"description": "The transaction_id was used before with other content (`transaction-conflict`)."},
    },
)
async def submit(
    body: TransactionBody,
    response: Response,
    services: UsesServices,
    principal: WritesTransactions,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> TransactionView:
    """Submit a transaction: a debtor, a creditor, or both. A business rejection is a final result, not an HTTP error."""
    return await carry_out(await transaction_request(body, services, principal, idempotency_key), services, prefer, response)


@router.post(
    "/{transaction_id}/reverse",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        **ANSWERS,
        **_MAY_OVERRIDE,
        404: {"description": "The tenant has no such transaction."},
        409: {
            "description": "The transaction is still under way (`transaction-not-final`), is no longer parked (`transaction-not-parked`) "
            "or is where this can't mend it (`action-not-possible`), or the reversal's transaction_id was used before with other content "
            "(`transaction-conflict`)."
        },
    },
)
async def reverse(
    transaction_id: str,
    response: Response,
    services: UsesServices,
    principal: ReversesTransactions,
    body: ReversalBody | None = None,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> TransactionView:
    """Take a transaction back, or a part of it, by a transaction of its own.

    Without an amount it takes back all that is left, once: asked again, it answers the same reversal. The fee is kept. Of a parked
    transfer the debit is given back, and the transaction itself ends as reversed; that needs a reason.
    """
    identifier, asked = parse_transaction_id(transaction_id), body or ReversalBody()
    standing = await services.starter.look_up(principal.tenant, identifier)
    if standing.result.status is TransactionStatus.PARKED:
        if asked.amount is not None or asked.transaction_id is not None or asked.override is not None:
            raise InvalidInputError(
                field="amount", value=asked.amount, rule="must be left out: a parked transaction is reversed as a whole"
            )
        principal.require(Scope.TRANSACTIONS_OPERATE)
        return await _commanded(REVERSE, identifier, asked.reason, services, principal, prefer, response)
    principal.require(Scope.TRANSACTIONS_WRITE)
    request = await _reversal(identifier, asked, services, principal, idempotency_key)
    return await carry_out(request, services, prefer, response)


@router.post("/{transaction_id}/retry", responses=_COMMANDED)
async def retry(
    transaction_id: str, body: RetryBody, response: Response, services: UsesServices, principal: OperatesTransactions, prefer: Prefer = None
) -> TransactionView:
    """Have a parked transaction try again what it is parked at. Recorded with who asks, and why."""
    return await _commanded(RETRY, parse_transaction_id(transaction_id), body.reason, services, principal, prefer, response)


@router.post("/{transaction_id}/settle", responses=_COMMANDED)
async def settle(
    transaction_id: str,
    body: SettlementBody,
    response: Response,
    services: UsesServices,
    principal: OperatesTransactions,
    prefer: Prefer = None,
) -> TransactionView:
    """Have a parked transfer credit another account instead of its creditor. Recorded with who asks, and why."""
    identifier = parse_transaction_id(transaction_id)
    account_id = parse_account_id(body.creditor, field="creditor")
    found = await services.accounts.get_many(principal.tenant, [account_id])
    account = _customer_account(found.get(account_id), "creditor", account_id)
    return await _commanded(SETTLE_TO, identifier, body.reason, services, principal, prefer, response, account=account)


async def _commanded(
    action: str,
    transaction_id: str,
    reason: str | None,
    services: Services,
    principal: Principal,
    prefer: str | None,
    response: Response,
    account: Account | None = None,
) -> TransactionView:
    """Give a command to a parked transaction, and answer how it stands.

    Raises:
        InvalidInputError: no reason is given.
        TransactionNotParkedError, ActionNotPossibleError: it can't be obeyed now.
        NotFoundError: the tenant has no such transaction.
    """
    if reason is None:
        raise InvalidInputError(field="reason", value=None, rule="must be given: it is recorded with the transaction")
    await services.commands.send(
        action,
        tenant=principal.tenant,
        transaction_id=transaction_id,
        by=principal.name,
        reason=reason,
        wait_seconds=wait_seconds_of(prefer),
        account_id=account.account_id if account else None,
        currency=account.currency if account else None,
    )
    submission = await services.starter.look_up(principal.tenant, transaction_id)
    response.status_code = HTTPStatus.OK if submission.result.final else HTTPStatus.ACCEPTED
    response.headers["Location"] = f"/v1/transactions/{transaction_id}"
    return TransactionView.of(submission.result, submission.request, reversed_amount=submission.reversed_amount, actions=submission.actions)


@router.get("/{transaction_id}", responses=answer(404, "The tenant has no such transaction."))
async def read(transaction_id: str, services: UsesServices, principal: ReadsTransactions) -> TransactionView:
    """A transaction as it stands."""
    identifier = parse_transaction_id(transaction_id)
    structlog.contextvars.bind_contextvars(transaction_id=identifier)
    submission = await services.starter.look_up(principal.tenant, identifier)
    return TransactionView.of(submission.result, submission.request, reversed_amount=submission.reversed_amount, actions=submission.actions)


async def carry_out(request: TransactionRequest, services: Services, prefer: str | None, response: Response) -> TransactionView:
    """Start a transaction, or join the one with its id, and answer how it stands: status code, `Location` and body."""
    wait_seconds = wait_seconds_of(prefer)
    structlog.contextvars.bind_contextvars(transaction_id=request.transaction_id)
    submission = await services.starter.submit(request, wait_seconds=wait_seconds)
    if not submission.result.final:
        response.status_code = HTTPStatus.ACCEPTED
    else:
        response.status_code = HTTPStatus.OK if submission.repeated else HTTPStatus.CREATED
    response.headers["Location"] = f"/v1/transactions/{request.transaction_id}"
    if wait_seconds:
        response.headers["Preference-Applied"] = f"wait={wait_seconds}"
    return TransactionView.of(submission.result, submission.request, reversed_amount=submission.reversed_amount, actions=submission.actions)


def wait_seconds_of(prefer: str | None) -> int:
    """RFC 7240, section 4.3. A preference that isn't understood is ignored, as the standard asks."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0


async def transaction_request(
    body: TransactionBody, services: Services, principal: Principal, idempotency_key: str | None
) -> TransactionRequest:
    """Check everything that can be checked before anything is written.

    Raises:
        InvalidInputError: a field breaks a rule.
        UnknownAccountError: an account doesn't exist, or is the bank's own.
        IdempotencyKeyConflictError: the key was used with another body.
        MissingScopeError: it has an override, for which the API key has no scope.
    """
    _check_override(body.override, principal)
    check_key(idempotency_key)
    given_id = parse_transaction_id(body.transaction_id) if body.transaction_id is not None else None
    money = Money.parse(body.amount, body.currency)
    sides, amounts = _sides(body, money)
    found = await services.accounts.get_many(principal.tenant, sides.values())
    accounts = {field: _customer_account(found.get(account_id), field, account_id) for field, account_id in sides.items()}
    _check_currencies(accounts, money, body)
    debtor, fee = accounts.get("debtor"), _fee(body, accounts.get("debtor"))
    if body.override is not None and debtor is None:
        raise InvalidInputError(field="override", value=body.override.reason, rule=_NEEDS_A_DEBTOR)
    given = given_id or (key_transaction_id(principal.tenant, principal.name, idempotency_key) if idempotency_key else str(uuid.uuid4()))
    return TransactionRequest(
        tenant=principal.tenant,
        transaction_id=await bound_id(given, _content(body), services, principal, idempotency_key),
        debtor=_reference(debtor),
        creditor=_reference(accounts.get("creditor")),
        shares=tuple(
            Share(account=AccountRef(account_id=accounts[field].account_id, currency=money.currency), amount=amount)
            for field, amount in amounts.items()
        ),
        amount=money,
        fee=fee,
        override=_override(body.override, principal),
        approval_asked=body.approval.asked() if body.approval is not None else None,
        requested_execution_date=body.requested_execution_date,
        **body.model_dump(include={"settlement", "reference", "remittance_information", "value_date", "metadata", "balancing"}),
        submitted_by=principal.name,
        submitted_at=dt.datetime.now(dt.UTC),
    )


async def _reversal(
    original_id: str, body: ReversalBody, services: Services, principal: Principal, idempotency_key: str | None
) -> TransactionRequest:
    """The request that takes a transaction back.

    Raises:
        NotFoundError: the tenant has no such transaction.
        TransactionNotFinalError: it is still under way.
        InvalidInputError: a field breaks a rule; an amount above what is left is the ledger's to refuse.
        IdempotencyKeyConflictError: the key was used with another body, or for another transaction.
        MissingScopeError: it has an override, for which the API key has no scope.
    """
    _check_override(body.override, principal)
    check_key(idempotency_key)
    given = parse_transaction_id(body.transaction_id) if body.transaction_id is not None else None
    # Before the reversal is looked for: what it has taken back meanwhile is then in its record, and not missing here.
    original = await services.starter.look_up(principal.tenant, original_id)
    if not original.result.final or original.request is None:
        raise TransactionNotFinalError(transaction_id=original_id, status=original.result.status)
    whole = reversible(original.request, original.result)
    part = Money.parse(body.amount, whole.currency) if body.amount is not None else None
    if given is None and idempotency_key is not None:
        given = key_transaction_id(principal.tenant, principal.name, idempotency_key)
    if given is None:
        given = reversal_transaction_id(principal.tenant, original_id) if part is None else str(uuid.uuid4())
    content = {"reverses": original_id, **body.model_dump(mode="json")}
    transaction_id = await bound_id(given, content, services, principal, idempotency_key)
    asked_before = await _amount_asked_before(transaction_id, services, principal, reverses=original_id)
    left = Money(minor_units=whole.minor_units - original.reversed_amount, currency=whole.currency)
    return reversal_request(
        original.request,
        transaction_id=transaction_id,
        amount=part or asked_before or (left if left.minor_units else whole),
        reference=body.reference,
        override=_override(body.override, principal),
        submitted_by=principal.name,
        submitted_at=dt.datetime.now(dt.UTC),
    )


async def capture_request(
    hold: Hold, body: CaptureBody, services: Services, principal: Principal, idempotency_key: str | None
) -> TransactionRequest:
    """The request that captures from a hold. Without an amount it is all that the hold still holds, once, as with a reversal.

    Raises:
        InvalidInputError: a field breaks a rule; an amount above what is held is the ledger's to refuse.
        UnknownAccountError: the creditor doesn't exist, or is the bank's own.
        IdempotencyKeyConflictError: the key was used with another body, or for another hold.
    """
    check_key(idempotency_key)
    given = parse_transaction_id(body.transaction_id) if body.transaction_id is not None else None
    part = Money.parse(body.amount, hold.amount.currency) if body.amount is not None else None
    creditor = None
    if body.creditor is not None:
        account_id = parse_account_id(body.creditor, field="creditor")
        if account_id == hold.account_id:
            raise InvalidInputError(field="creditor", value=account_id, rule="must be another account than the one that is held on")
        found = await services.accounts.get_many(principal.tenant, [account_id])
        creditor = _customer_account(found.get(account_id), "creditor", account_id)
    if given is None and idempotency_key is not None:
        given = key_transaction_id(principal.tenant, principal.name, idempotency_key)
    if given is None:
        given = capture_transaction_id(principal.tenant, hold.hold_id) if part is None else str(uuid.uuid4())
    content = {"hold_id": hold.hold_id, **body.model_dump(mode="json")}
    transaction_id = await bound_id(given, content, services, principal, idempotency_key)
    asked_before = await _amount_asked_before(transaction_id, services, principal, hold_id=hold.hold_id)
    return TransactionRequest(
        tenant=principal.tenant,
        transaction_id=transaction_id,
        debtor=AccountRef(account_id=hold.account_id, currency=hold.amount.currency),
        creditor=_reference(creditor),
        amount=part or asked_before or (hold.remaining if hold.remaining.minor_units else hold.amount),
        hold_id=hold.hold_id,
        **body.model_dump(include={"releases_hold", "settlement", "reference", "remittance_information", "value_date", "metadata"}),
        submitted_by=principal.name,
        submitted_at=dt.datetime.now(dt.UTC),
    )


async def _amount_asked_before(
    transaction_id: str, services: Services, principal: Principal, *, reverses: str | None = None, hold_id: str | None = None
) -> Money | None:
    """The amount of a repeat that names none: it was all that was left of the same transaction or hold, of which less is left now."""
    record = await services.transactions.get(principal.tenant, transaction_id)
    if record is None or (record.request.reverses, record.request.hold_id) != (reverses, hold_id):
        return None  # unknown, or a conflict, which is found when it is submitted
    return record.request.amount


async def bound_id(
    transaction_id: str, content: dict[str, Any], services: Services, principal: Principal, idempotency_key: str | None
) -> str:
    """The transaction id that an idempotency key stands for; the one given where there is no key.

    Raises:
        IdempotencyKeyConflictError: the key was used with other content.
    """
    if idempotency_key is None:
        return transaction_id
    return await services.transactions.claim_idempotency_key(
        tenant=principal.tenant,
        principal=principal.name,
        key=idempotency_key,
        # Whitespace and the order of names, which JSON libraries choose, play no part.
        request_hash=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        transaction_id=transaction_id,
    )


def _content(body: TransactionBody) -> dict[str, Any]:
    """What a key is bound to. Later fields are left out where they aren't used, so that keys bound before them stay bound."""
    content = body.model_dump(mode="json")
    return {name: value for name, value in content.items() if name not in _LATER_FIELDS or value != _LATER_FIELDS[name]}


def check_key(idempotency_key: str | None) -> None:
    """Refuse a key that breaks the rule for keys.

    Raises:
        InvalidInputError: it does.
    """
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidInputError(field="Idempotency-Key", value=idempotency_key, rule="must be 1 to 255 visible ASCII characters")


def _sides(body: TransactionBody, money: Money) -> tuple[dict[str, str], dict[str, Money]]:
    """The accounts that a body names, by field, and what each of several creditors gets.

    Raises:
        InvalidInputError: none is named, one is named twice, or the creditors' amounts aren't the transaction's.
    """
    named: dict[str, str | None] = {"debtor": body.debtor, "creditor": body.creditor}
    creditors = body.creditors or []
    if creditors and body.creditor is not None:
        raise InvalidInputError(field="creditor", value=body.creditor, rule="must be left out beside creditors")
    if len(creditors) + (body.debtor is not None) + (body.fee is not None) > MAX_LEGS:
        raise InvalidInputError(field="creditors", value=len(creditors), rule=f"must be {MAX_SHARES} at most, one less beside a fee")
    named |= {f"creditors.{number}.creditor": each.creditor for number, each in enumerate(creditors)}
    sides = {field: parse_account_id(value, field=field) for field, value in named.items() if value is not None}
    if not sides:
        raise InvalidInputError(field="debtor", value=None, rule="or creditor must be given: a transaction names at least one account")
    first: dict[str, str] = {}
    for field, account_id in sides.items():
        if first.setdefault(account_id, field) != field:
            raise InvalidInputError(field=field, value=account_id, rule=f"must be another account than {first[account_id]}")
    amounts = {
        f"creditors.{number}.creditor": Money.parse(each.amount, money.currency, field=f"creditors.{number}.amount")
        for number, each in enumerate(creditors)
    }
    total = Money(minor_units=sum(amount.minor_units for amount in amounts.values()), currency=money.currency)
    if amounts and total != money:
        rule = f"must be what the creditors' amounts sum to ({total.decimal_string})"
        raise InvalidInputError(field="amount", value=body.amount, rule=rule)
    return sides, amounts


def _check_currencies(accounts: dict[str, Account], money: Money, body: TransactionBody) -> None:
    """Refuse currencies that don't fit together.

    Raises:
        InvalidInputError: see its rule.
    """
    if body.balancing:
        _check_balancing(body)
    if body.creditors or body.balancing:
        why = "with several creditors" if body.creditors else "with a balancing amount"
        for field, account in accounts.items():
            if account.currency != money.currency:
                rule = f"must be an account in {money.currency}, as the amount is: {why} nothing is converted"
                raise InvalidInputError(field=field, value=account.account_id, rule=rule)
    currencies = {account.currency for account in accounts.values()}
    if money.currency not in currencies and len(accounts) > 1:
        rule = f"must be the currency of debtor or creditor ({' or '.join(sorted(currencies))})"
        raise InvalidInputError(field="currency", value=money.currency, rule=rule)


def _check_balancing(body: TransactionBody) -> None:
    reasons = ((body.debtor is None, _NEEDS_A_DEBTOR), (body.creditors, "must be left out: the creditors' amounts are fixed"))
    for is_wrong, rule in (*reasons, (body.fee, "must be left out: nothing would be left for the fee")):
        if is_wrong:
            raise InvalidInputError(field="balancing", value=True, rule=rule)


def _fee(body: TransactionBody, debtor: Account | None) -> Money | None:
    if body.fee is None:
        return None
    fee = Money.parse(body.fee.amount, body.fee.currency, field="fee.amount", currency_field="fee.currency")
    if debtor is None:
        raise InvalidInputError(field="fee", value=str(fee), rule=_NEEDS_A_DEBTOR)
    if fee.currency != debtor.currency:
        raise InvalidInputError(field="fee.currency", value=fee.currency, rule=f"must be the debtor's currency ({debtor.currency})")
    return fee


def _check_override(body: OverrideBody | None, principal: Principal) -> None:
    if body is not None:
        principal.require(Scope.TRANSACTIONS_OVERRIDE)


def _override(body: OverrideBody | None, principal: Principal) -> Override | None:
    return Override(by=principal.name, reason=body.reason) if body is not None else None


def _customer_account(account: Account | None, field: str, account_id: str) -> Account:
    # An internal account is as good as unknown here: it can't be debtor or creditor of a request.
    if account is None or account.kind is AccountKind.INTERNAL:
        raise UnknownAccountError(field=field, account_id=account_id)
    return account


def _reference(account: Account | None) -> AccountRef | None:
    return AccountRef(account_id=account.account_id, currency=account.currency) if account else None
