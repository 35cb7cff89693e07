"""Connecting to Temporal."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from ledger.errors import UnavailableError

_CONNECT_SECONDS: Final = 10.0


async def connect(address: str, *, namespace: str, identity: str | None = None) -> Client:
    """Connect to the Temporal frontend at `address` (``host:port``), with pydantic models as payloads.

    Args:
        address: of the frontend.
        namespace: in which transactions run.
        identity: as it appears in workflow histories; None: process id and host name.

    Raises:
        UnavailableError: the server did not answer within ten seconds.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await Client.connect(address, namespace=namespace, identity=identity, data_converter=pydantic_data_converter)
    except TimeoutError as error:
        raise UnavailableError(part="temporal", detail=f"{address} did not answer within {_CONNECT_SECONDS:.0f} s") from error
    except (RuntimeError, RPCError) as error:
        # The SDK reports a failed connection as a plain RuntimeError.
        raise UnavailableError(part="temporal", detail=f"{address}: {error}") from error
