"""Access tokens: whose they are. RFC 6750 and RFC 9068."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from infra.oauth.signing_keys import SigningKeys
from ledger.errors import CasaflowError
from ledger.keys import TENANT, is_principal
from ledger.principals import Principal
from ledger.scopes import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.oauth.issuers import OAuthIssuer

LONGEST_TOKEN: Final = 8_192
"""Characters. More is refused before anything of it is read."""
_LONGEST_ID: Final = 128
_SCOPE_CLAIMS: Final = ("scope", "scp")
_REASONS: Final = {
    ExpiredSignatureError: "it has expired",
    ImmatureSignatureError: "it is not valid yet",
    InvalidAudienceError: "it is for another audience",
    InvalidSignatureError: "its signature is wrong",
}


class InvalidTokenError(CasaflowError):
    """The token opens nothing. Says why, since whoever holds it can read it anyway; never what it is."""

    code: ClassVar[str] = "invalid-token"


class AccessTokens:
    """Checks tokens of the issuers that are set up."""

    def __init__(self, issuers: Sequence[OAuthIssuer], **options: float) -> None:
        """Take the issuers; `options` are those of :class:`infra.oauth.signing_keys.SigningKeys`."""
        self._issuers = {issuer.issuer: (issuer, SigningKeys(issuer, **options)) for issuer in issuers}

    def __bool__(self) -> bool:
        return bool(self._issuers)

    async def stop(self) -> None:
        """End what is under way."""
        for _, keys in self._issuers.values():
            await keys.stop()

    async def authenticate(self, token: str) -> Principal:
        """Whose token this is.

        Raises:
            InvalidTokenError: it is malformed, not of a known issuer, not signed by it, not for this audience, not valid now, or doesn't
                name a tenant that its issuer may speak for.
            UnavailableError: it names a key that isn't known, and the issuer doesn't answer.
        """
        if len(token) > LONGEST_TOKEN:
            message = "it is too long"
            raise InvalidTokenError(message)
        try:
            header = jwt.get_unverified_header(token)
            # Only to know by whose keys it has to be checked; nothing else of it is used.
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (PyJWTError, ValueError, RecursionError) as error:
            message = "it is neither an API key nor a token"
            raise InvalidTokenError(message) from error
        issuer, keys = self._issuers.get(named, (None, None)) if isinstance(named, str) else (None, None)
        if issuer is None or keys is None:
            message = "it is of no issuer that is known here"
            raise InvalidTokenError(message)
        algorithm, key_id = _checked_header(header, issuer)
        key = await keys.find(key_id, algorithm)
        if key is None:
            message = "its issuer has no such key"
            raise InvalidTokenError(message)
        return _principal(_checked_claims(token, key, algorithm, issuer), issuer)


def _checked_header(header: dict[str, Any], issuer: OAuthIssuer) -> tuple[str, str]:
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if algorithm not in issuer.algorithms:
        message = f"it must be signed by one of {', '.join(issuer.algorithms)}"
        raise InvalidTokenError(message)
    if not isinstance(key_id, str):
        message = "it must name its key (kid)"
        raise InvalidTokenError(message)
    types = {wanted.lower() for wanted in issuer.token_types}
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        message = f"its type (typ) must be {' or '.join(issuer.token_types)}"
        raise InvalidTokenError(message)
    return algorithm, key_id


def _checked_claims(token: str, key: jwt.PyJWK, algorithm: str, issuer: OAuthIssuer) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=issuer.clock_skew_seconds,
            options={"require": ["iss", "aud", "exp", "iat", issuer.principal_claim, issuer.tenant_claim]},
        )
    except MissingRequiredClaimError as error:
        message = f"it lacks the claim {error.claim}"
        raise InvalidTokenError(message) from error
    except (PyJWTError, ValueError, RecursionError) as error:
        message = next((why for kind, why in _REASONS.items() if isinstance(error, kind)), "it breaks a rule of JSON Web Tokens")
        raise InvalidTokenError(message) from error


def _principal(claims: dict[str, Any], issuer: OAuthIssuer) -> Principal:
    tenant, name, token_id = claims[issuer.tenant_claim], claims[issuer.principal_claim], claims.get("jti")
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant) or (issuer.tenants is not None and tenant not in issuer.tenants):
        message = f"its issuer may not speak for the tenant that it names ({issuer.tenant_claim})"
        raise InvalidTokenError(message)
    if not isinstance(name, str) or not is_principal(name):
        message = f"its claim {issuer.principal_claim} is no name of a principal"
        raise InvalidTokenError(message)
    shown_id = token_id if isinstance(token_id, str) and token_id.isprintable() and len(token_id) <= _LONGEST_ID else ""
    return Principal(tenant=tenant, name=name, scopes=_scopes(claims, issuer), key_id=f"token:{shown_id}")


def _scopes(claims: dict[str, Any], issuer: OAuthIssuer) -> tuple[str, ...]:
    """Those that casaflow knows: an issuer has others, too. Payloads, which are all tenants', are no issuer's to give."""
    names = (issuer.scope_claim,) if issuer.scope_claim is not None else _SCOPE_CLAIMS
    found = next((claims[name] for name in names if name in claims), "")
    given = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
    return tuple(scope.value for scope in Scope if scope in given and scope is not Scope.PAYLOADS)
