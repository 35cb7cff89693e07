"""A tenant's own API keys and the log of its administrative acts, for its administrators."""

from __future__ import annotations

import datetime as dt
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query

from ledger.cursors import cursor_behind, position_of, printable_id
from ledger.keys import check_expiry, check_holder, check_may_give
from ledger.scopes import parse_scopes
from ledger.statements import parse_instant
from starter.api.answers import answer
from starter.api.models.keys import ActsView, KeyBody, KeysView, KeyView, MadeKeyView, PageQuery, RotationBody
from starter.api.services import Administers, UsesServices

router = APIRouter(tags=["administration"])

_NOT_FOUND: Final = answer(404, "The tenant has no such key.")
_MAY_NOT_GIVE: Final = answer(403, "The key lacks the scope `admin`, or a scope that the other key has, or is to have (`missing-scope`).")


@router.get("/v1/keys")
async def list_keys(query: Annotated[PageQuery, Query()], services: UsesServices, principal: Administers) -> KeysView:
    """The tenant's keys, the newest first; those that are revoked or have expired, too."""
    after = _position(query.cursor, "keys") if query.cursor is not None else None
    found = await services.keys.page(principal.tenant, after=after, at_most=query.limit + 1)
    keys = found[: query.limit]
    more = len(found) > query.limit
    return KeysView(
        keys=[KeyView.of(key) for key in keys], next_cursor=cursor_behind(keys[-1].created_at, keys[-1].key_id) if more else None
    )


@router.post("/v1/keys", status_code=HTTPStatus.CREATED, responses=_MAY_NOT_GIVE)
async def create_key(body: KeyBody, services: UsesServices, principal: Administers) -> MadeKeyView:
    """Make a key of the tenant. It is shown this once. It may do no more than the key that makes it."""
    check_holder(principal.tenant, body.principal)
    scopes = parse_scopes(body.scopes, field="scopes")
    check_may_give(principal.scopes, scopes)
    made = await services.keys.create(principal.tenant, body.principal, scopes, expires_at=_expiry(body.expires_at), actor=principal.actor)
    return MadeKeyView.made(await services.keys.get(made.key_id, tenant=principal.tenant), made.plaintext)


@router.get("/v1/keys/{key_id}", responses=_NOT_FOUND)
async def read_key(key_id: str, services: UsesServices, principal: Administers) -> KeyView:
    """A key of the tenant, without its secret."""
    return KeyView.of(await services.keys.get(key_id, tenant=principal.tenant))


@router.post(
    "/v1/keys/{key_id}/rotate",
    status_code=HTTPStatus.CREATED,
    responses=_MAY_NOT_GIVE | _NOT_FOUND | answer(409, "The key is revoked, or has expired (`key-not-valid`)."),
)
async def rotate_key(key_id: str, services: UsesServices, principal: Administers, body: RotationBody | None = None) -> MadeKeyView:
    """Make a key for the same principal, with the same scopes, which is shown this once. The old one ends after the overlap."""
    wanted = body or RotationBody()
    made = await services.keys.rotate(
        key_id,
        overlap=dt.timedelta(seconds=wanted.overlap_seconds),
        expires_at=_expiry(wanted.expires_at),
        actor=principal.actor,
        tenant=principal.tenant,
        giver=principal.scopes,
    )
    services.known_keys.forget(key_id)
    return MadeKeyView.made(await services.keys.get(made.key_id, tenant=principal.tenant), made.plaintext)


@router.post("/v1/keys/{key_id}/revoke", responses=_NOT_FOUND)
async def revoke_key(key_id: str, services: UsesServices, principal: Administers) -> KeyView:
    """Make a key worthless: at once in the process that answers, within seconds in others. Revoking twice changes nothing."""
    revoked = await services.keys.revoke(key_id, actor=principal.actor, tenant=principal.tenant)
    services.known_keys.forget(key_id)
    return KeyView.of(revoked)


@router.get("/v1/administrative-acts")
async def list_acts(query: Annotated[PageQuery, Query()], services: UsesServices, principal: Administers) -> ActsView:
    """Who did what to the tenant's keys, accounts, transactions, standing orders and messages, when, and from where; the newest first."""
    after = _position(query.cursor, "administrative acts") if query.cursor is not None else None
    found = await services.acts.page(principal.tenant, after=after, at_most=query.limit + 1)
    acts = found[: query.limit]
    more = len(found) > query.limit
    return ActsView(acts=acts, next_cursor=cursor_behind(acts[-1].at, acts[-1].act_id) if more else None)


def _position(cursor: str, of: str) -> tuple[dt.datetime, str]:
    return position_of(cursor, f"must be next_cursor of a page of {of}, as it was given", identified_by=printable_id)


def _expiry(given: str | None) -> dt.datetime | None:
    expires_at = parse_instant(given, field="expires_at") if given is not None else None
    check_expiry(expires_at, now=dt.datetime.now(dt.UTC), field="expires_at")
    return expires_at
