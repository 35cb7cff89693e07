"""Who asks for something: the holder of an API key or of a token, or whoever is at a server's command line."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.errors import MissingScopeError
from ledger.scopes import granted


@dataclass(frozen=True)
class Actor:
    """Who did an administrative act, as it is recorded."""

    tenant: str | None
    """None: whoever works on the servers themselves, for all tenants."""
    name: str
    key_id: str | None
    """Of the API key; of a token ``token:`` and its id. None: neither was used."""
    address: str | None
    """Where the request came from; of a command the machine's name."""


@dataclass(frozen=True)
class Principal:
    """Who sent a request: its tenant, the name that its transactions are recorded under, and what it may do."""

    tenant: str
    name: str
    scopes: tuple[str, ...]
    key_id: str
    """Of the API key; of a token ``token:`` and its id."""
    address: str | None = None
    """Where its request came from."""

    @property
    def actor(self) -> Actor:
        """The same, as acts are recorded."""
        return Actor(tenant=self.tenant, name=self.name, key_id=self.key_id, address=self.address)

    def may(self, scope: str) -> bool:
        """Whether one of its scopes contains this one."""
        return scope in granted(self.scopes)

    def require(self, *scopes: str) -> None:
        """Let pass who has one of the scopes.

        Raises:
            MissingScopeError: it has none of them.
        """
        if not any(self.may(scope) for scope in scopes):
            raise MissingScopeError(scope=" or ".join(scopes))
