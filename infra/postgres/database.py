"""The connection pool, bounded in time, and the one place where a driver's error becomes one of ours."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg
import structlog
from opentelemetry.trace import SpanKind
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from infra.tracing import span
from ledger.errors import BusyError, LedgerIntegrityError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ledger.errors import CasaflowError

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_SECONDS: Final = 5
OPERATION_TIMEOUT_SECONDS: Final = 15.0
"""A database transaction that takes longer has its connection cut; its outcome is then unknown, and the same id settles it."""

_STALE_CONNECTION: Final = frozenset(
    {
        "25006",  # read_only_sql_transaction: the server behind this connection is no longer the primary
        "0A000",  # feature_not_supported: "cached plan must not change result type", after a migration
    }
)
"""SQLSTATEs that a new connection mends. Nothing was written, and nothing is wrong with the request."""

_NOT_NOW: Final = frozenset(
    {
        "CF002",  # restored into another cluster: nothing is posted until `casaflow refold`
        "42883",  # undefined_function: the schema is of another version than this process
    }
)
"""SQLSTATEs that an administrator mends; the request is right, and may be sent again."""

_SPAN_ATTRIBUTES: Final = {"db.system.name": "postgresql"}

_ROLE_MISSING: Final = "22023"
"""invalid_parameter_value, as ``SET ROLE`` says it of a role that doesn't exist."""
_ROLE_NOT_GRANTED: Final = "42501"
_ROLE_REFUSED: Final = frozenset({_ROLE_MISSING, _ROLE_NOT_GRANTED})

_DEADLOCK_DETECTED: Final = "40P01"
"""The database transaction was rolled back for certain, so that another could go on."""


def driver_url(url: str) -> URL:
    """A libpq URL (``postgresql://…``) as SQLAlchemy's URL for psycopg 3.

    Read by libpq's own rules, since SQLAlchemy's know one host only: ``postgresql://user@one:5432,two:5432/bank?target_session_attrs=read-write``
    is the one of the two that may be written to.

    Raises:
        psycopg.ProgrammingError: it is no such URL.
    """
    place = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    user, password, database = (place.pop(name, None) for name in ("user", "password", "dbname"))
    hosts, ports = place.get("host", "").count(","), place.get("port", "").count(",")
    if hosts and "port" in place and not ports:
        place["port"] = ",".join([place["port"]] * (hosts + 1))  # one for all of them
    return URL.create("postgresql+psycopg", username=user, password=password, database=database, query=place)


class Database:
    """A pool of connections to one PostgreSQL database. Work comes in as a function; no connection leaves."""

    def __init__(self, engine: AsyncEngine, *, operation_timeout_seconds: float) -> None:
        self._engine = engine
        self._autocommit_engine = engine.execution_options(isolation_level="AUTOCOMMIT")  # the same pool
        self._operation_timeout_seconds = operation_timeout_seconds
        self._running: set[asyncio.Task[object]] = set()
        self._before_close: list[Callable[[], Awaitable[None]]] = []

    @classmethod
    def open(
        cls, url: str, *, pool_size: int, operation_timeout_seconds: float = OPERATION_TIMEOUT_SECONDS, role: str | None = None
    ) -> Self:
        """Make a pool; the first use connects.

        Args:
            url: libpq URL.
            pool_size: connections at most.
            operation_timeout_seconds: how long one database transaction may take before its connection is cut.
            role: what the log-in role of the URL turns into on each connection; None: it stays what it is.
        """
        engine = create_async_engine(
            driver_url(url),
            isolation_level="READ COMMITTED",
            # An error's text goes to logs and histories, and a statement's parameters are customers' data.
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=operation_timeout_seconds,
            connect_args={
                "async_creator_fn": partial(_connect, role),
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "casaflow",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )
        return cls(engine, operation_timeout_seconds=operation_timeout_seconds)

    async def close(self) -> None:
        """Do what is to be done before, wait for what runs, then close all connections."""
        for last_work in self._before_close:
            await last_work()
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()

    def before_close(self, last_work: Callable[[], Awaitable[None]]) -> None:
        """Have something done while there are still connections; it raises nothing."""
        self._before_close.append(last_work)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        """Do `work` in one database transaction, and commit it.

        A caller that is cancelled leaves the work to end by itself: a statement cut off half-way would leave an unknown outcome for
        nothing, and psycopg's own cancellation waits for a server that may not answer. The time-out bounds it either way.

        Raises:
            BusyError: it was the one to give way in a deadlock; nothing was done.
            UnavailableError: no connection, a lost one, or none in time; whether a commit arrived is unknown.
            LedgerIntegrityError: the database refused a write.
        """
        return await self._shielded(self._attempt(self._engine, work))

    async def run_statement(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        """Do `work`, which is one statement and so a database transaction by itself: one round trip, where :meth:`run` takes three.

        Raises:
            As :meth:`run`.
        """
        return await self._shielded(self._attempt(self._autocommit_engine, work))

    async def run_on_driver(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Answer]]) -> Answer:
        """Do `work` on psycopg's own connection in autocommit mode, for what SQLAlchemy has no words for: statements sent in one go.

        Work that begins a database transaction ends it; one that it leaves open, since it raised, is rolled back.

        Raises:
            As :meth:`run`.
        """

        async def on_driver(connection: AsyncConnection) -> Answer:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            if driver is None:
                message = "the pool gave no connection"
                raise UnavailableError(part="postgres", detail=message)
            try:
                return await work(driver)
            except psycopg.Error as error:
                if driver.closed:
                    # SQLAlchemy learns of it by trying, and then gives up all connections that are as old as this one.
                    with suppress(DBAPIError):
                        await connection.execute(text("SELECT 1"))
                elif error.sqlstate in _STALE_CONNECTION:
                    await connection.invalidate(error)
                raise
            finally:
                if not driver.closed and driver.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                    await driver.rollback()

        return await self._shielded(self._attempt(self._autocommit_engine, on_driver))

    async def _shielded(self, attempt: Coroutine[Any, Any, Answer]) -> Answer:
        task = asyncio.create_task(attempt)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def ping(self) -> None:
        """Answer if the database does.

        Raises:
            UnavailableError: it doesn't.
        """

        async def select_one(connection: AsyncConnection) -> None:
            await connection.execute(text("SELECT 1"))

        await self.run_statement(select_one)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        # Whoever waited got the error; where nobody waits any more it was said in the log, and needs no second mention.
        if not task.cancelled():
            task.exception()

    async def _attempt(self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        limit = _TimeLimit(self._operation_timeout_seconds)
        _limit_of_attempt.set(limit)
        try:
            # Without statements: their parameters are customers' data, and each database transaction has a name by what is above it.
            with span("postgresql transaction", kind=SpanKind.CLIENT, attributes=_SPAN_ATTRIBUTES):
                return await self._on_connection(engine, work, limit)
        except (DBAPIError, psycopg.Error, PoolTimeoutError, TimeoutError) as error:
            raise _meaning(error) from error
        finally:
            limit.stop()

    @staticmethod
    async def _on_connection(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Answer]], limit: _TimeLimit) -> Answer:
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: psycopg.AsyncConnection[Any] | None = raw.driver_connection
            if driver is not None:
                limit.start(driver)
            try:
                answer = await work(connection)
                await connection.commit()
            except DBAPIError as error:
                if _state(error) in _STALE_CONNECTION:
                    await connection.invalidate(error)
                raise
            finally:
                # Here and not when the pool takes the connection back, so that a roll-back is bounded too. Nothing after a commit.
                await connection.rollback()
                limit.stop()
            return answer


class _TimeLimit:
    """Cuts a connection that is in use for too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self, driver: psycopg.AsyncConnection[Any]) -> None:
        """From now on; an earlier start of the same attempt no longer counts."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, _cut, driver)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


_limit_of_attempt: ContextVar[_TimeLimit] = ContextVar("_limit_of_attempt")


async def _connect(role: str | None, *arguments: Any, **options: Any) -> psycopg.AsyncConnection[Any]:  # noqa: ANN401  as psycopg takes them
    """A new connection of the pool. The pool asks the server a few things before it hands the first one out; they are bounded as well."""
    driver = await psycopg.AsyncConnection.connect(*arguments, **options)
    _limit_of_attempt.get().start(driver)
    if role is not None:
        try:
            await driver.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            await driver.commit()
        except psycopg.Error as error:
            login = driver.info.user if not driver.closed else ""
            await driver.close()
            if error.sqlstate in _ROLE_REFUSED:
                raise _role_refused(role, login, error) from error
            raise
    return driver


def _role_refused(role: str, login: str, error: psycopg.Error) -> UnavailableError:
    needed = {
        _ROLE_MISSING: f'there is no role "{role}" yet: the owner of the ledger makes it with `casaflow migrate`',
        _ROLE_NOT_GRANTED: f'"{login}" may not become "{role}": as an administrator, GRANT "{role}" TO "{login}"',
    }
    detail = f"{needed[error.sqlstate or '']}; or name another role in CASAFLOW_POSTGRES_ROLE, none if it is empty"
    _log.warning("postgres.role-refused", error=detail)
    return UnavailableError(part="postgres", detail=detail)


def _cut(driver: psycopg.AsyncConnection[Any]) -> None:
    """Shut a connection's socket down, which wakes whoever waits on it with an error. The descriptor itself stays the driver's."""
    _log.warning("postgres.operation-timed-out")
    if driver.closed:
        return
    try:
        with socket.socket(fileno=os.dup(driver.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        _log.warning("postgres.cut-failed", error=str(error))


def _meaning(error: Exception) -> CasaflowError:
    """What an error means to whoever asked, whether SQLAlchemy, its pool or psycopg raised it."""
    original = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "sqlstate", None)
    detail = _first_line(error)
    if state == _DEADLOCK_DETECTED:
        return BusyError(part="postgres", detail=detail)
    is_away = isinstance(original, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeoutError | TimeoutError)
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if is_away or is_lost or state in _STALE_CONNECTION or state in _NOT_NOW:
        _log.warning("postgres.unavailable", error=detail)
        return UnavailableError(part="postgres", detail=detail)
    return LedgerIntegrityError(detail)


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _first_line(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return (str(original).strip() or type(original).__name__).splitlines()[0]
