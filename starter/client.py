"""A client of the HTTP API, for the command line: it waits where the API says that waiting helps."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from ledger.errors import CasaflowError, InvalidInputError
from ledger.ids import parse_account_id, parse_transaction_id
from ledger.notifications import parse_customer_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import ClassVar

_REQUEST_TIMEOUT_SECONDS: Final = 75.0
"""Longer than the longest wait that the API grants."""
_RETRY_SECONDS: Final = 1.0
_URL: Final = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)


class ApiError(CasaflowError):
    """The API refused a request; the problem's fields are attributes."""

    code: ClassVar[str] = "api-error"

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        self.status = status
        self.problem_code = str(problem.get("code", "error"))
        self.detail = str(problem.get("detail", "the API gave no detail"))
        self.errors: list[dict[str, Any]] = problem.get("errors", [])
        super().__init__(self.detail)

    @property
    def is_bad_input(self) -> bool:
        """Whether the same request would be refused again, for what it says or for the key that it comes with."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR


class ApiUnavailableError(CasaflowError):
    """The API, or a server behind it, did not answer; the same request may be sent again."""

    code: ClassVar[str] = "unavailable"


class ApiClient:
    """Requests to one API with one key. Every request is safe to repeat, so all of them are repeated while the API is away."""

    def __init__(self, url: str, key: str, *, connections: int = 64, on_wait: Callable[[str], None] | None = None) -> None:
        """Prepare.

        Args:
            url: where the API is.
            key: a key of ``casaflow key create``.
            connections: open at most.
            on_wait: called with the reason each time a request is repeated; None: an API that is away is an error at once.

        Raises:
            InvalidInputError: no request can be made of this URL or key, however long one waits.
        """
        if not _URL.fullmatch(url):
            raise InvalidInputError(field="api_url", value=url, rule="must be a URL such as http://127.0.0.1:8080")
        if not _KEY.fullmatch(key):
            raise InvalidInputError(field="api_key", value="…", rule="must be a key as `casaflow key create` prints it")
        self._on_wait = on_wait
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(_REQUEST_TIMEOUT_SECONDS, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def open_account(self, body: dict[str, Any]) -> dict[str, Any]:
        """Open an account."""
        return await self._send(lambda: self._http.post("/v1/accounts", json=body))

    async def account(self, account_id: str) -> dict[str, Any]:
        """An account."""
        return await self._send(lambda: self._http.get(_account_path(account_id)))

    async def change_account(self, account_id: str, change: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """Freeze, unfreeze, make dormant, reactivate or close an account; a freeze may say which side."""
        return await self._send(lambda: self._http.post(f"{_account_path(account_id)}/{change}", json=body))

    async def change_rules(self, account_id: str, rules: dict[str, str | None]) -> dict[str, Any]:
        """Give an account other rules."""
        return await self._send(lambda: self._http.patch(_account_path(account_id), json=rules))

    async def authorise_hold(self, body: dict[str, Any]) -> dict[str, Any]:
        """Set money aside, with an id of its own."""
        return await self._send(lambda: self._http.post("/v1/holds", json=body))

    async def hold(self, hold_id: str) -> dict[str, Any]:
        """A hold as it stands."""
        return await self._send(lambda: self._http.get(_hold_path(hold_id)))

    async def void_hold(self, hold_id: str) -> dict[str, Any]:
        """Release what a hold still holds."""
        return await self._send(lambda: self._http.post(f"{_hold_path(hold_id)}/void"))

    async def create_standing_order(self, body: dict[str, Any]) -> dict[str, Any]:
        """Enter a standing order, with an id of its own."""
        return await self._send(lambda: self._http.post("/v1/standing-orders", json=body))

    async def standing_orders(self, query: dict[str, str]) -> dict[str, Any]:
        """One page of standing orders; `query` as the endpoint takes it."""
        return await self._send(lambda: self._http.get("/v1/standing-orders", params=query))

    async def standing_order(self, order_id: str) -> dict[str, Any]:
        """A standing order as it stands, with what was done."""
        return await self._send(lambda: self._http.get(_order_path(order_id)))

    async def change_standing_order(self, order_id: str, change: str, body: dict[str, str]) -> dict[str, Any]:
        """Pause, resume or cancel a standing order."""
        return await self._send(lambda: self._http.post(f"{_order_path(order_id)}/{change}", json=body))

    async def notification_preferences(self, customer_id: str) -> dict[str, Any]:
        """What a customer is told, and how."""
        return await self._send(lambda: self._http.get(_preferences_path(customer_id)))

    async def set_notification_preferences(self, customer_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Say what a customer is told from now on."""
        return await self._send(lambda: self._http.put(_preferences_path(customer_id), json=body))

    async def disable_notification_preferences(self, customer_id: str) -> dict[str, Any]:
        """Tell a customer nothing more."""
        return await self._send(lambda: self._http.delete(_preferences_path(customer_id)))

    async def notifications(self, query: dict[str, str]) -> dict[str, Any]:
        """One page of messages to customers; `query` as the endpoint takes it."""
        return await self._send(lambda: self._http.get("/v1/notifications", params=query))

    async def replay_notification(self, message_id: str, reason: str) -> dict[str, Any]:
        """Have a dead message sent again."""
        path = f"/v1/notifications/{parse_transaction_id(message_id, field='message_id')}/replay"
        return await self._send(lambda: self._http.post(path, json={"reason": reason}))

    async def balance(self, account_id: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        """An account's balance now; with a query of ``at`` or ``value_date``, as of then."""
        return await self._send(lambda: self._http.get(f"{_account_path(account_id)}/balance", params=query))

    async def statement(self, account_id: str, query: dict[str, str]) -> dict[str, Any]:
        """One page of an account's statement; `query` as the endpoint takes it."""
        return await self._send(lambda: self._http.get(f"{_account_path(account_id)}/statement", params=query))

    async def statements(self, account_id: str, query: dict[str, str]) -> dict[str, Any]:
        """An account's closed statements, the newest first, and what came after the last one."""
        return await self._send(lambda: self._http.get(f"{_account_path(account_id)}/statements", params=query))

    async def closed_statement(self, account_id: str, number: int, query: dict[str, str]) -> dict[str, Any]:
        """A closed statement, with a page of its lines."""
        return await self._send(lambda: self._http.get(f"{_account_path(account_id)}/statements/{number}", params=query))

    async def chart(self, what: str, query: dict[str, str]) -> dict[str, Any]:
        """Totals per hour or day of ``transactions`` or ``entries``; `query` as the endpoint takes it."""
        return await self._send(lambda: self._http.get(f"/v1/mis/{what}", params=query))

    async def submit(self, body: dict[str, Any], *, wait_seconds: int) -> tuple[dict[str, Any], bool]:
        """Submit a transaction with an id of its own.

        Returns:
            The transaction, and whether the id had been submitted before.
        """
        headers = {"Prefer": f"wait={wait_seconds}"}
        response = await self._answer(lambda: self._http.post("/v1/transactions", json=body, headers=headers))
        return _content(response), response.status_code == HTTPStatus.OK

    async def transaction(self, transaction_id: str) -> dict[str, Any]:
        """A transaction as it stands."""
        return await self._send(lambda: self._http.get(f"/v1/transactions/{parse_transaction_id(transaction_id)}"))

    async def explanation(self, transaction_id: str) -> dict[str, Any]:
        """What became of a transaction, from the request to the last consumer."""
        return await self._send(lambda: self._http.get(f"/v1/transactions/{parse_transaction_id(transaction_id)}/explanation"))

    async def retry(self, transaction_id: str, reason: str, *, wait_seconds: int) -> dict[str, Any]:
        """Have a parked transaction try again."""
        return await self._command(transaction_id, "retry", {"reason": reason}, wait_seconds)

    async def settle(self, transaction_id: str, creditor: str, reason: str, *, wait_seconds: int) -> dict[str, Any]:
        """Have a parked transfer credit another account."""
        return await self._command(transaction_id, "settle", {"creditor": creditor, "reason": reason}, wait_seconds)

    async def _command(self, transaction_id: str, what: str, body: dict[str, str], wait_seconds: int) -> dict[str, Any]:
        path = f"/v1/transactions/{parse_transaction_id(transaction_id)}/{what}"
        headers = {"Prefer": f"wait={wait_seconds}"}
        return await self._send(lambda: self._http.post(path, json=body, headers=headers))

    async def reverse(self, transaction_id: str, body: dict[str, Any], *, wait_seconds: int) -> dict[str, Any]:
        """Take a transaction back, or a part of it; a part with a transaction id of its own, so that this may be repeated."""
        path = f"/v1/transactions/{parse_transaction_id(transaction_id)}/reverse"
        headers = {"Prefer": f"wait={wait_seconds}"}
        return await self._send(lambda: self._http.post(path, json=body, headers=headers))

    async def decide(self, transaction_id: str, action: str, reason: str | None, *, wait_seconds: int) -> dict[str, Any]:
        """Approve, decline or cancel a transaction that waits; the same again changes nothing."""
        path = f"/v1/transactions/{parse_transaction_id(transaction_id)}/{action}"
        body = {"reason": reason} if reason is not None else None
        headers = {"Prefer": f"wait={wait_seconds}"}
        return await self._send(lambda: self._http.post(path, json=body, headers=headers))

    async def send_file(self, content: Callable[[], Iterable[bytes]], media_type: str, *, mode: str) -> dict[str, Any]:
        """Hand in a payment file; its bytes are asked for anew where it has to be sent again."""

        async def body() -> AsyncIterator[bytes]:
            for part in content():
                yield part

        headers = {"Content-Type": media_type}
        return await self._send(lambda: self._http.post("/v1/files", params={"mode": mode}, content=body(), headers=headers))

    async def file(self, file_id: str) -> dict[str, Any]:
        """A payment file as it stands."""
        return await self._send(lambda: self._http.get(_file_path(file_id)))

    async def files(self, query: dict[str, str]) -> dict[str, Any]:
        """One page of payment files; `query` as the endpoint takes it."""
        return await self._send(lambda: self._http.get("/v1/files", params=query))

    async def file_lines(self, file_id: str, query: dict[str, str]) -> dict[str, Any]:
        """One page of a payment file's lines."""
        return await self._send(lambda: self._http.get(f"{_file_path(file_id)}/lines", params=query))

    async def change_file(self, file_id: str, action: str, body: dict[str, str]) -> dict[str, Any]:
        """Pause, resume or cancel a payment file."""
        return await self._send(lambda: self._http.post(f"{_file_path(file_id)}/{action}", json=body))

    async def file_outcome(self, file_id: str, form: str, write: Callable[[bytes], object]) -> None:
        """Write the outcome of a payment file, as it arrives; `form` is ``csv`` or ``pain.002``."""
        try:
            async with self._http.stream("GET", f"{_file_path(file_id)}/outcome", params={"format": form}) as response:
                if not response.is_success:
                    await response.aread()
                    _content(response)
                async for part in response.aiter_bytes():
                    write(part)
        except httpx.TransportError as error:
            message = f"the API does not answer ({type(error).__name__})"
            raise ApiUnavailableError(message) from error

    async def _send(self, request: Callable[[], Awaitable[httpx.Response]]) -> dict[str, Any]:
        return _content(await self._answer(request))

    async def _answer(self, request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Send until there is an answer.

        Raises:
            ApiError: the API refused the request.
            ApiUnavailableError: it is away, and nobody wants to wait.
        """
        while True:
            try:
                response = await request()
            except httpx.TransportError as error:
                wait_seconds, reason = _RETRY_SECONDS, f"the API does not answer ({type(error).__name__})"
            else:
                if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                    return response
                wait_seconds, reason = (
                    float(response.headers.get("Retry-After", _RETRY_SECONDS)),
                    ApiError(_content_of(response), 503).detail,
                )
            if self._on_wait is None:
                raise ApiUnavailableError(reason)
            self._on_wait(reason)
            await asyncio.sleep(wait_seconds)


def _account_path(account_id: str) -> str:
    # Checked here as well: the empty id, or two dots, would make another path of it.
    return f"/v1/accounts/{parse_account_id(account_id, field='account_id')}"


def _hold_path(hold_id: str) -> str:
    return f"/v1/holds/{parse_transaction_id(hold_id, field='hold_id')}"


def _preferences_path(customer_id: str) -> str:
    return f"/v1/customers/{parse_customer_id(customer_id)}/notifications"


def _file_path(file_id: str) -> str:
    return f"/v1/files/{parse_transaction_id(file_id, field='file_id')}"


def _order_path(order_id: str) -> str:
    return f"/v1/standing-orders/{parse_transaction_id(order_id, field='order_id')}"


def _content(response: httpx.Response) -> dict[str, Any]:
    content = _content_of(response)
    if not response.is_success:
        raise ApiError(content, response.status_code)
    return content


def _content_of(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        content = {"detail": response.text[:200]}
    return content if isinstance(content, dict) else {"detail": str(content)}
