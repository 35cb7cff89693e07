"""Connecting to Temporal: the one way for every process, so that none of them sends what the others encrypt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from temporalio.client import Client
from temporalio.service import RPCError

from infra import tracing
from infra.temporal.access import access_of
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from infra.settings import Settings

_CONNECT_SECONDS: Final = 10.0


async def connect(settings: Settings, *, identity: str | None = None) -> Client:
    """Connect to the settings' Temporal frontend, with pydantic models as payloads, encrypted where the settings have keys.

    Args:
        settings: address, namespace, TLS, API key, and the keys of payloads.
        identity: as it appears in workflow histories; None: process id and host name.

    Raises:
        InvalidInputError: a setting breaks a rule.
        UnavailableError: no address is set, or the server did not answer within ten seconds.
    """
    address = settings.temporal_address
    if address is None:
        raise UnavailableError(part="temporal", detail="CASAFLOW_TEMPORAL_ADDRESS is not set")
    access = access_of(settings)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await Client.connect(
                address,
                namespace=settings.temporal_namespace,
                identity=identity,
                data_converter=access.data_converter,
                tls=access.tls or False,
                api_key=access.api_key,
                plugins=tracing.temporal_plugins(),
            )
    except TimeoutError as error:
        raise UnavailableError(part="temporal", detail=f"{address} did not answer within {_CONNECT_SECONDS:.0f} s") from error
    except (RuntimeError, RPCError) as error:
        # The SDK reports a failed connection as a plain RuntimeError.
        raise UnavailableError(part="temporal", detail=f"{address}: {error}") from error


def unavailable(error: RPCError) -> UnavailableError:
    """What a failed call of Temporal's means to whoever asked: its status, in words, and its message."""
    return UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}")
