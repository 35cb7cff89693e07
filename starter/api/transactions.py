"""Transactions: submit, wait, look up."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from infra.postgres.api_keys import Principal
from ledger.accounts import Account, AccountKind
from ledger.errors import InvalidInputError, UnknownAccountError
from ledger.ids import key_transaction_id, parse_account_id, parse_transaction_id
from ledger.money import Money
from ledger.requests import AccountRef, TransactionRequest
from starter.api.answers import LOCATION, answer
from starter.api.models import TransactionBody, TransactionView
from starter.api.services import Authenticated, Services, UsesServices

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

MAX_WAIT_SECONDS: Final = 60
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*([0-9]{1,9})\s*(?:$|[,;])", re.ASCII)
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {"model": TransactionView, "description": "A repeat, and it is final.", "headers": LOCATION},
        201: {"model": TransactionView, "description": "It is final.", "headers": LOCATION},
        202: {"model": TransactionView, "description": "It is under way; look it up at Location.", "headers": LOCATION},
        409: {"description": "The transaction_id was used before with other content."},
    },
)
async def submit(
    body: TransactionBody,
    response: Response,
    services: UsesServices,
    principal: Authenticated,
    idempotency_key: Annotated[str | None, Header(description="A request with the same key and body joins the first one.")] = None,
    prefer: Annotated[str | None, Header(description="`wait=N`: answer when final, after N seconds at most (RFC 7240).")] = None,
) -> TransactionView:
    """Submit a transaction: a debtor, a creditor, or both. A business rejection is a final result, not an HTTP error."""
    request = await _request(body, services, principal, idempotency_key)
    wait_seconds = _wait_seconds(prefer)
    submission = await services.starter.submit(request, wait_seconds=wait_seconds)
    if not submission.result.final:
        response.status_code = HTTPStatus.ACCEPTED
    else:
        response.status_code = HTTPStatus.OK if submission.repeated else HTTPStatus.CREATED
    response.headers["Location"] = f"/v1/transactions/{request.transaction_id}"
    if wait_seconds:
        response.headers["Preference-Applied"] = f"wait={wait_seconds}"
    return TransactionView.of(submission.result, submission.request)


@router.get("/{transaction_id}", responses=answer(404, "The tenant has no such transaction."))
async def read(transaction_id: str, services: UsesServices, principal: Authenticated) -> TransactionView:
    """A transaction as it stands."""
    submission = await services.starter.look_up(principal.tenant, parse_transaction_id(transaction_id))
    return TransactionView.of(submission.result, submission.request)


def _wait_seconds(prefer: str | None) -> int:
    """RFC 7240, section 4.3. A preference that isn't understood is ignored, as the standard asks."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0


async def _request(body: TransactionBody, services: Services, principal: Principal, idempotency_key: str | None) -> TransactionRequest:
    """Check everything that can be checked before anything is written.

    Raises:
        InvalidInputError: a field breaks a rule.
        UnknownAccountError: an account doesn't exist, or is the bank's own.
        IdempotencyKeyConflictError: the key was used with another body.
    """
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidInputError(field="Idempotency-Key", value=idempotency_key, rule="must be 1 to 255 visible ASCII characters")
    given_id = parse_transaction_id(body.transaction_id) if body.transaction_id is not None else None
    money = Money.parse(body.amount, body.currency)
    sides = {
        field: parse_account_id(value, field=field)
        for field, value in (("debtor", body.debtor), ("creditor", body.creditor))
        if value is not None
    }
    if not sides:
        raise InvalidInputError(field="debtor", value=None, rule="or creditor must be given: a transaction names at least one account")
    if len(sides) > len(set(sides.values())):
        raise InvalidInputError(field="creditor", value=body.creditor, rule="must be another account than debtor")
    found = await services.accounts.get_many(principal.tenant, sides.values())
    accounts = {field: _customer_account(found.get(account_id), field, account_id) for field, account_id in sides.items()}
    currencies = {account.currency for account in accounts.values()}
    if money.currency not in currencies and len(accounts) > 1:
        rule = f"must be the currency of debtor or creditor ({' or '.join(sorted(currencies))})"
        raise InvalidInputError(field="currency", value=money.currency, rule=rule)
    transaction_id = given_id or (
        key_transaction_id(principal.tenant, principal.name, idempotency_key) if idempotency_key else str(uuid.uuid4())
    )
    if idempotency_key is not None:
        transaction_id = await services.transactions.claim_idempotency_key(
            tenant=principal.tenant,
            principal=principal.name,
            key=idempotency_key,
            request_hash=_content_hash(body),
            transaction_id=transaction_id,
        )
    return TransactionRequest(
        tenant=principal.tenant,
        transaction_id=transaction_id,
        debtor=_reference(accounts.get("debtor")),
        creditor=_reference(accounts.get("creditor")),
        amount=money,
        **body.model_dump(include={"settlement", "reference", "remittance_information", "value_date", "metadata"}),
        submitted_by=principal.name,
        submitted_at=dt.datetime.now(dt.UTC),
    )


def _content_hash(body: TransactionBody) -> str:
    """SHA-256 (hex) of a body's content: whitespace and the order of names, which JSON libraries choose, play no part."""
    return hashlib.sha256(json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _customer_account(account: Account | None, field: str, account_id: str) -> Account:
    # An internal account is as good as unknown here: it can't be debtor or creditor of a request.
    if account is None or account.kind is AccountKind.INTERNAL:
        raise UnknownAccountError(field=field, account_id=account_id)
    return account


def _reference(account: Account | None) -> AccountRef | None:
    return AccountRef(account_id=account.account_id, currency=account.currency) if account else None
