"""Statements and single bookings as documents: CSV, PDF, ISO 20022."""

from __future__ import annotations

import datetime as dt
from typing import Any, BinaryIO
from uuid import UUID

import httpx

from casaflow_client import requests
from casaflow_client._async.transport import AsyncTransport
from casaflow_client.errors import UnavailableError, error_of
from casaflow_client.requests import query, segment, uuid_segment


class AsyncDocuments(AsyncTransport):
    """What is read as a whole, and written as it arrives. A document that breaks off is not asked for again."""

    async def statement_document(
        self,
        account_id: str,
        form: str,
        out: BinaryIO,
        *,
        since: dt.datetime | str | None = None,
        until: dt.datetime | str | None = None,
    ) -> None:
        """Write the statement of a period: `form` is ``csv``, ``pdf`` or ``camt.053``. Settled lines only.

        Raises:
            InvalidRequestError: the form is unknown, or the period has too many lines for it.
            UnavailableError: the document broke off; `out` has the part before.
        """
        await self._write(f"{_account(account_id)}/statement", query(from_=since, to=until, format=form), out)

    async def closed_statement_document(self, account_id: str, number: int, form: str, out: BinaryIO) -> None:
        """Write a closed, numbered statement.

        Raises:
            NotFoundError: there is none with this number.
        """
        await self._write(f"{_account(account_id)}/statements/{segment(number, field='number')}", query(format=form), out)

    async def notification_document(self, account_id: str, transaction_id: str | UUID, out: BinaryIO) -> None:
        """Write what a transaction has booked on an account, as camt.054.

        Raises:
            NotFoundError: it has booked nothing there.
        """
        transaction = uuid_segment(transaction_id, field="transaction_id")
        await self._write(f"{_account(account_id)}/transactions/{transaction}/notification", {}, out)

    async def _write(self, path: str, parameters: dict[str, Any], out: BinaryIO) -> None:
        try:
            async with self._http.stream("GET", self._url + path, params=parameters, headers=self._headers) as response:
                if not response.is_success:
                    await response.aread()
                    again = requests.failed(response)
                    if again is not None:
                        raise UnavailableError(again[0])
                    raise error_of(requests.problem_of(response), response.status_code)
                async for chunk in response.aiter_bytes():
                    out.write(chunk)
        except httpx.TransportError as error:
            message = f"the API does not answer, or broke off ({type(error).__name__})"
            raise UnavailableError(message) from error


def _account(account_id: str) -> str:
    return f"/v1/accounts/{segment(account_id, field='account_id', longest=34)}"
