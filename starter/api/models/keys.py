"""What the endpoints of keys and administrative acts take and give."""

from __future__ import annotations

import datetime as dt
from typing import Self

from pydantic import AwareDatetime, Field

from ledger.acts import AdministrativeAct
from ledger.keys import DEFAULT_OVERLAP, LONGEST_OVERLAP, LONGEST_PRINCIPAL, ApiKey
from ledger.scopes import Scope
from starter.api.models.fields import Answer, StrictBody, WholeNumber


class KeyBody(StrictBody):
    """A key that is to be made."""

    principal: str = Field(min_length=1, max_length=LONGEST_PRINCIPAL, examples=["branch 7"])
    """The name that its transactions are recorded under."""
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), examples=[["read", "transactions:write"]])
    """What it may do; no more than the key that makes it."""
    expires_at: str | None = Field(default=None, max_length=40, examples=["2030-01-01T00:00:00Z"])
    """When it ends by itself (RFC 3339); unless given, it is valid until it is revoked."""


class RotationBody(StrictBody):
    """How a key is to be rotated."""

    overlap_seconds: WholeNumber = Field(
        default=int(DEFAULT_OVERLAP.total_seconds()), ge=0, le=int(LONGEST_OVERLAP.total_seconds()), examples=[86_400]
    )
    """How long the old key stays valid."""
    expires_at: str | None = Field(default=None, max_length=40, examples=["2030-01-01T00:00:00Z"])
    """When the new one ends by itself; unless given, it lasts as long as the old one was made to."""


class PageQuery(StrictBody):
    """Which page."""

    cursor: str | None = Field(default=None, max_length=1_000, description="`next_cursor` of the page before.")
    limit: int = Field(default=100, ge=1, le=1_000, description="Entries of a page at most.")


class KeyView(Answer):
    """A key, without its secret."""

    key_id: str
    principal: str
    """The name that its transactions are recorded under."""
    scopes: list[str]
    state: str
    """`valid`, `revoked` or `expired`."""
    created_at: AwareDatetime
    created_by: str | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    """To the minute or so."""
    rotated_from: str | None
    """The key in whose place this one was made."""

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """The API's form of `key`."""
        content = key.model_dump(exclude={"tenant", "scopes"})
        return cls(**content, scopes=list(key.scopes), state=key.state(dt.datetime.now(dt.UTC)))


class MadeKeyView(KeyView):
    """A new key, with what is shown this once."""

    key: str
    """`casaflow_<key_id>_<secret>`; only its hash is stored."""

    @classmethod
    def made(cls, key: ApiKey, plaintext: str) -> Self:
        """The API's form of a key that was made a moment ago."""
        return cls(**KeyView.of(key).model_dump(), key=plaintext)


class KeysView(Answer):
    """A page of keys, the newest first."""

    keys: list[KeyView]
    next_cursor: str | None
    """Of the next page; null: there are no older ones."""


class ActsView(Answer):
    """A page of administrative acts, the newest first."""

    acts: list[AdministrativeAct]
    next_cursor: str | None
    """Of the next page; null: there are no older ones."""
