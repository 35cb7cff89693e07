"""Rules of API keys: whose they may be, how long they last, what takes their place.

See ``docs/decisions/0035-who-may.md``.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ledger.errors import ConflictError, InvalidInputError, MissingScopeError
from ledger.scopes import granted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""It is part of workflow ids and of the keys of events."""
LONGEST_PRINCIPAL: Final = 140
LONGEST_LIFE: Final = dt.timedelta(days=3_660)
LONGEST_OVERLAP: Final = dt.timedelta(days=30)
DEFAULT_OVERLAP: Final = dt.timedelta(hours=24)
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION_RULE: Final = "must be a number with s, m, h or d behind it, such as 24h or 90d"


class KeyNotValidError(ConflictError):
    """A key that is revoked or has expired has no successor; a new one is made."""

    code: ClassVar[str] = "key-not-valid"

    def __init__(self, *, key_id: str, state: str) -> None:
        self.key_id = key_id
        self.state = state
        super().__init__(f"key {key_id} is {state}, and can't be rotated; create a new one")


class ApiKey(BaseModel):
    """A key as it is listed: without its secret, which nobody has but its holder."""

    model_config = ConfigDict(frozen=True)

    key_id: str
    tenant: str
    principal: str
    """The name that its transactions are recorded under."""
    scopes: tuple[str, ...]
    created_at: AwareDatetime
    created_by: str | None
    """None: it is older than this record, or of `casaflow up`."""
    expires_at: AwareDatetime | None
    """None: it stays valid until it is revoked."""
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    """To the minute or so; None: it was not used, or longer ago than this is recorded."""
    rotated_from: str | None
    """The key in whose place this one was made."""

    def state(self, now: dt.datetime) -> str:
        """``valid``, ``revoked`` or ``expired``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class MadeKey(NamedTuple):
    """A new key, with what can't be had again."""

    key_id: str
    plaintext: str
    """``casaflow_<key_id>_<secret>``."""


def check_holder(tenant: str, principal: str) -> None:
    """Check whose key is to be made.

    Raises:
        InvalidInputError: tenant or principal breaks a rule.
    """
    if not TENANT.fullmatch(tenant):
        rule = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
        raise InvalidInputError(field="tenant", value=tenant, rule=rule)
    if not is_principal(principal):
        raise InvalidInputError(field="principal", value=principal, rule=f"must be 1 to {LONGEST_PRINCIPAL} printable characters")


def is_principal(name: str) -> bool:
    """Whether transactions may be recorded under this name."""
    return name.isprintable() and bool(name.strip()) and len(name) <= LONGEST_PRINCIPAL


def parse_duration(text: str, *, field: str) -> dt.timedelta:
    """A duration such as ``24h`` or ``90d``.

    Raises:
        InvalidInputError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidInputError(field=field, value=text, rule=_DURATION_RULE)
    return dt.timedelta(**{_UNITS[found["unit"]]: int(found["number"])})


def check_expiry(expires_at: dt.datetime | None, *, now: dt.datetime, field: str) -> None:
    """Check when a new key is to expire.

    Raises:
        InvalidInputError: it is past, or further away than :data:`LONGEST_LIFE`.
    """
    if expires_at is not None and not now < expires_at <= now + LONGEST_LIFE:
        rule = f"must lie in the future, by at most {LONGEST_LIFE.days} days"
        raise InvalidInputError(field=field, value=expires_at.isoformat(), rule=rule)


def check_overlap(overlap: dt.timedelta, *, field: str) -> None:
    """Check how long a key is to stay valid beside its successor.

    Raises:
        InvalidInputError: longer than :data:`LONGEST_OVERLAP`, or negative.
    """
    if not dt.timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise InvalidInputError(field=field, value=str(overlap), rule=f"must be 0 to {LONGEST_OVERLAP.days} days")


def successor_expiry(key: ApiKey, *, now: dt.datetime) -> dt.datetime | None:
    """When the key that takes this one's place expires: it lasts as long as this one was made to."""
    return None if key.expires_at is None else now + (key.expires_at - key.created_at)


def check_may_give(giver: Sequence[str], given: Sequence[str]) -> None:
    """Whoever makes a key, or gets the secret of its successor, must have all that it may do.

    Raises:
        MissingScopeError: the giver lacks a scope that the key would have.
    """
    lacking = min(granted(tuple(given)) - granted(tuple(giver)), default=None)
    if lacking is not None:
        raise MissingScopeError(scope=lacking)
