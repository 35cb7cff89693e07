"""Registering the search attributes under which operators find transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import connect
from ledger import visibility
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from temporalio.client import Client

    from infra.settings import Settings

TYPES: Final = {
    **dict.fromkeys(visibility.KEYWORDS, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
    **dict.fromkeys(visibility.KEYWORD_LISTS, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST),
    **dict.fromkeys(visibility.DATETIMES, IndexedValueType.INDEXED_VALUE_TYPE_DATETIME),
}
"""Every search attribute of casaflow with its Temporal type."""

_VISIBLE_WITHIN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2


async def ensure_search_attributes(settings: Settings) -> None:
    """Register what is missing, and wait until the server accepts workflows that carry the attributes. Safe to repeat.

    Raises:
        InvalidInputError: a setting breaks a rule.
        UnavailableError: the server did not answer, or did not show the attributes within 30 seconds.
    """
    client = await connect(settings)
    namespace = settings.temporal_namespace
    try:
        missing = await _missing(client, namespace)
        if missing:
            await _add(client, namespace, missing)
        async with asyncio.timeout(_VISIBLE_WITHIN_SECONDS):
            await _until_visible(client, namespace)
    except TimeoutError as error:
        detail = f"{settings.temporal_address} does not show the new search attributes after {_VISIBLE_WITHIN_SECONDS:.0f} s"
        raise UnavailableError(part="temporal", detail=detail) from error
    except RPCError as error:
        raise UnavailableError(part="temporal", detail=f"{settings.temporal_address}: {error}") from error


async def _missing(client: Client, namespace: str) -> list[str]:
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    return [name for name in TYPES if name not in known.custom_attributes]


async def _add(client: Client, namespace: str, names: list[str]) -> None:
    request = AddSearchAttributesRequest(namespace=namespace, search_attributes={name: TYPES[name] for name in names})
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        # Two processes that start at the same time both see them missing; the slower one is told so.
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def _until_visible(client: Client, namespace: str) -> None:
    while await _missing(client, namespace) or not await _searchable(client):  # noqa: ASYNC110  the server has no event to wait for
        await asyncio.sleep(_POLL_SECONDS)


async def _searchable(client: Client) -> bool:
    # The list shows an attribute before the frontend's cache maps it; until then a start that carries it is refused.
    query = " AND ".join(f"{name} IS NULL" for name in TYPES)
    try:
        await client.count_workflows(query)
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise
    return True
