"""A typed client of casaflow: :class:`Client`, and :class:`AsyncClient` for asyncio. The models are in :mod:`casaflow_client.models`."""

from casaflow_client._async.client import AsyncClient
from casaflow_client._sync.client import Client
from casaflow_client.errors import (
    ApiError,
    CasaflowClientError,
    ConflictError,
    ForbiddenError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
)
from casaflow_client.events import StreamedEvent
from casaflow_client.requests import Patience

__all__ = [
    "ApiError",
    "AsyncClient",
    "CasaflowClientError",
    "Client",
    "ConflictError",
    "ForbiddenError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "NotFoundError",
    "Patience",
    "RateLimitedError",
    "StreamedEvent",
    "UnauthenticatedError",
    "UnavailableError",
]
