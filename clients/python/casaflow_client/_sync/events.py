"""Events of the ledger, as they are published."""

from __future__ import annotations

import time
from collections.abc import Generator
from uuid import UUID

import httpx

from casaflow_client import requests
from casaflow_client._sync.transport import Transport
from casaflow_client.errors import error_of
from casaflow_client.events import STREAM_ENDED, StreamedEvent, StreamParser

_SILENCE_SECONDS = 60.0
"""The API says something more often, if only that the stream is alive."""


class Events(Transport):
    """What is published."""

    def events(
        self, *, account_id: str | None = None, transaction_id: str | UUID | None = None, after: str | None = None
    ) -> Generator[StreamedEvent]:
        """The events of an account, of a transaction, or of the whole tenant, without an end.

        Where a stream breaks another one goes on behind the last event, so none is lost as long as the topics keep them.

        Args:
            account_id: only those of this account.
            transaction_id: only those of this transaction.
            after: a ``position``, behind which to begin; None: now.

        Raises:
            ApiError: the API refuses the stream.
            UnavailableError: it was away for longer than this client was to wait.
        """
        parameters = requests.query(account_id=account_id, transaction_id=transaction_id)
        silence = httpx.Timeout(_SILENCE_SECONDS, connect=requests.CONNECT_TIMEOUT_SECONDS)
        last_word, attempt = time.monotonic(), 0
        while True:
            headers = {**self._headers, **({"Last-Event-ID": after} if after else {})}
            asked: float | None = None
            try:
                with self._http.stream("GET", f"{self._url}/v1/events", params=parameters, headers=headers, timeout=silence) as response:
                    if response.is_success:
                        reason, parser = "the stream has ended", StreamParser()
                        for line in response.iter_lines():
                            event = parser.feed(line)
                            if event is None:
                                continue
                            after, last_word, attempt = event.position or after, time.monotonic(), 0
                            if event.type == STREAM_ENDED:
                                reason = event.data
                            elif event.data:
                                yield event
                    else:
                        response.read()
                        again = requests.failed(response)
                        if again is None:
                            raise error_of(requests.problem_of(response), response.status_code)
                        reason, asked = again
            except httpx.TransportError as error:
                reason = f"the API does not answer ({type(error).__name__})"
            self._pause(attempt, reason, asked, time.monotonic() - last_word)
            attempt += 1
