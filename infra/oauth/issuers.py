"""Issuers of access tokens, as the settings name them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ledger.keys import TENANT

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Asymmetric ones only: with a shared secret, whoever can check a token can make one."""


class OAuthIssuer(BaseModel):
    """One issuer, and what its tokens have to say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)
    """Exactly what stands in the claim `iss`."""
    audience: str = Field(min_length=1)
    """What has to be in the claim `aud`: this installation's name there."""
    jwks: str
    """Where its keys are: an https URL, http on loopback, or a file by its absolute path."""
    tenant_claim: str = Field(default="tenant", min_length=1)
    """The claim that names the tenant. There is no default: a token without it opens nothing."""
    tenants: tuple[str, ...] | None = None
    """The tenants that this issuer may speak for; not given: whichever it names. To be given where there are several issuers."""
    principal_claim: str = Field(default="sub", min_length=1)
    """The claim with the name that transactions are recorded under."""
    scope_claim: str | None = None
    """The claim with the scopes, as text with blanks between them or as a list; not given: `scope`, or `scp` where there is none."""
    token_types: tuple[str, ...] = ("at+jwt",)
    """What the header `typ` may be, RFC 9068, section 4. Some issuers say `JWT`, which an ID token also is: then only the audience tells
    them apart."""
    algorithms: tuple[Algorithm, ...] = Field(default=ALGORITHMS, min_length=1)
    """What a token may be signed by."""
    clock_skew_seconds: int = Field(default=30, ge=0, le=300)
    """How far the issuer's clock and this one may be apart."""

    @field_validator("jwks")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme in {"http", "https"}:
            if not parts.hostname or parts.username or (parts.scheme == "http" and not _is_loopback(parts.hostname)):
                message = "must be an https URL; http only on loopback"
                raise ValueError(message)
        elif not Path(value).is_absolute():
            message = "must be an https URL, or the absolute path of a file"
            raise ValueError(message)
        return value

    @field_validator("tenants")
    @classmethod
    def _are_tenants(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or any(not TENANT.fullmatch(tenant) for tenant in value)):
            message = "must be names of tenants"
            raise ValueError(message)
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
