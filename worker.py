"""Composition root of whatever hosts a worker: settings, adapters, activities, Temporal's worker.

``python -m worker`` is a worker and nothing else. ``python -m worker api`` serves the HTTP API and hosts a worker beside it, on the client
that the API starts transactions with: their first workflow task then comes with the answer to the start.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
import uvloop
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from activities.casa import CasaActivities
from activities.exchange_rate import ExchangeRateActivities
from activities.holds import HoldActivities
from activities.notification import NotificationActivities
from activities.payment_files import PaymentFileActivities
from activities.standing_orders import StandingOrderActivities
from activities.sweep import SweepActivities
from infra.kafka.connection import connection_of
from infra.kafka.publisher import KafkaPublisher
from infra.ledger_watch import LedgerWatch
from infra.logs import configure_logging
from infra.metrics import LedgerMetrics
from infra.metrics_server import served_metrics
from infra.payment_files.validation import FileValidator
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.maintenance import PostgresMaintenance
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.payment_files import PostgresPaymentFiles
from infra.postgres.payment_posting import PaymentPosting
from infra.postgres.standing_orders import PostgresStandingOrders
from infra.postgres.transactions import PostgresTransactions
from infra.postgres.unsettled import PostgresUnsettled
from infra.rates import open_rates
from infra.relay import RELAY_EVERY_SECONDS, EventRelay
from infra.settings import Settings
from infra.temporal.access import access_of
from infra.temporal.client import connect
from infra.temporal.deployment import WorkerDeployment, deployment_config
from infra.temporal.executions import TransactionExecutions
from infra.temporal.payment_files import FileKeeper
from infra.temporal.standing_orders import StandingOrderKeeper
from infra.temporal.sweep_schedule import ensure_sweep_schedule
from infra.temporal.telemetry import keep_messages_plain, keep_sdk_metrics, sdk_metrics
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError, UnavailableError
from ledger.payment_files import files_queue
from ledger.settlements import whole_sweep
from workflows import authority
from workflows.hold import HoldWorkflow
from workflows.payment_file import PaymentFileWorkflow
from workflows.runner import workflow_runner
from workflows.standing_order import StandingOrderWorkflow
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from temporalio.client import Client

    from ledger.ports import CasaLedger, EventOutbox, EventPublisher, ExchangeRates, HoldLedger
    from starter.api.services import Services

_log = structlog.get_logger("worker")

GRACEFUL_SHUTDOWN: Final = timedelta(seconds=20)
"""How long what runs may go on after SIGTERM or SIGINT. Longer than any single attempt of an activity."""
FILES_AT_ONCE: Final = 4
"""Payment files that a worker process reads or posts at one time; further ones wait for their turn."""
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 5.0
_EXIT_CONFIGURATION: Final = 2

_Part = TypeVar("_Part")


def transaction_worker(  # noqa: PLR0913  each is a part of its own
    client: Client,
    settings: Settings,
    *,
    ledger: CasaLedger,
    holds: HoldLedger,
    outbox: EventOutbox,
    publisher: EventPublisher,
    rates: ExchangeRates,
    standing_orders: StandingOrderActivities | None = None,
    sweep: SweepActivities | None = None,
    beside: Sequence[type] = (),
) -> Worker:
    """A worker that carries transactions; the caller starts it, and owns what it is given.

    Args:
        client: on which it polls; workflows started on the same one may begin here at once.
        settings: of the process.
        ledger: books legs.
        holds: sets money aside.
        outbox: holds their events.
        publisher: where these go.
        rates: between currencies.
        standing_orders: what carries those out; None: this worker doesn't, as in a benchmark.
        sweep: finds what nobody carries; None: this worker does no sweeps.
        beside: further workflow classes, for a benchmark under the same settings.
    """
    authority.trust(settings.signing_secrets)
    casa = CasaActivities(ledger)
    exchange_rate = ExchangeRateActivities(rates, max_age_days=settings.rates_max_age_days)
    notification = NotificationActivities(outbox, publisher)
    hold = HoldActivities(holds)
    orders: list[Callable[..., Any]] = []
    if standing_orders is not None:
        orders = [standing_orders.due, standing_orders.outcome, standing_orders.record, standing_orders.keep]
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[
            *(TransactionWorkflow, HoldWorkflow, PaymentFileWorkflow),
            *([StandingOrderWorkflow] if orders else []),
            *([SweepWorkflow] if sweep is not None else []),
            *beside,
        ],
        activities=[
            casa.post,
            casa.post_linked,
            casa.reject,
            casa.record_action,
            exchange_rate.quote,
            notification.publish,
            hold.authorise,
            hold.void,
            hold.expire,
            hold.look_up,
            *orders,
            *([sweep.find, sweep.find_holds, sweep.move_unserved] if sweep is not None else []),
        ],
        workflow_runner=workflow_runner(),
        deployment_config=deployment_config(settings),
        max_concurrent_workflow_tasks=settings.workflow_tasks,
        max_concurrent_local_activities=100,
        max_concurrent_activities=100,
        max_cached_workflows=1_000,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=5),
        activity_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=5),
        disable_eager_activity_execution=False,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


def file_worker(client: Client, settings: Settings, files: PaymentFileActivities) -> Worker:
    """A worker that reads and posts payment files, few at one time; the caller starts it."""
    return Worker(
        client,
        task_queue=files_queue(settings.task_queue),
        activities=[files.validate, files.post],
        max_concurrent_activities=FILES_AT_ONCE,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Carry transactions until `stop` is set, then finish what runs. Waits for PostgreSQL and Temporal as long as it takes.

    Raises:
        InvalidInputError: a server's address is missing, or a setting about Temporal breaks a rule.
    """
    postgres_url = _required("postgres_url", settings.postgres_url.get_secret_value() if settings.postgres_url else None)
    _check(settings)
    identity = f"casaflow-worker-{os.getpid()}@{socket.gethostname()}"
    database = Database.open(postgres_url, pool_size=settings.postgres_pool_size, role=settings.postgres_role)
    try:
        with served_metrics(settings.metrics_address, also=sdk_metrics):
            watch = LedgerWatch(LedgerMetrics() if settings.metrics_address is not None else None)
            await _carry(settings, database, watch, lambda: connect(settings, identity=identity), stop, takes_files=True)
    finally:
        await database.close()


@asynccontextmanager
async def carrying(settings: Settings, services: Services) -> AsyncIterator[None]:
    """Carry transactions beside the API, with its client and its connections, from when they can be reached until this is left.

    Few at a time: a burst goes to the worker processes, and requests go on being answered.
    """
    stop = asyncio.Event()
    few = settings.model_copy(update={"workflow_tasks": settings.api_workflow_tasks})
    carried = _carry(few, services.database, LedgerWatch(LedgerMetrics()), services.temporal.client, stop, takes_files=False)
    task = asyncio.create_task(carried)
    task.add_done_callback(partial(_say_why_it_ended, event="api.carries-no-transactions-any-more"))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task])


async def _carry(
    settings: Settings,
    database: Database,
    watch: LedgerWatch,
    client_of: Callable[[], Awaitable[Client]],
    stop: asyncio.Event,
    *,
    takes_files: bool,
) -> None:
    async with AsyncExitStack() as parts:
        ledger = PostgresLedger(database, watch)
        parts.push_async_callback(ledger.drain)
        publisher = KafkaPublisher(connection_of(settings))
        parts.push_async_callback(publisher.stop)
        await publisher.start()
        try:
            await _once_reachable(database.ping, stop)
            client = await _once_reachable(client_of, stop)
        except _StoppedError:
            return
        outbox = PostgresOutbox(database)
        registered = PostgresStandingOrders(database)
        payment_files = PostgresPaymentFiles(database)
        file_keeper = FileKeeper(payment_files, lambda: _given(client), task_queue=settings.task_queue)
        keeper = StandingOrderKeeper(registered, lambda: _given(client), task_queue=settings.task_queue)
        worker = transaction_worker(
            client,
            settings,
            ledger=ledger,
            holds=PostgresHolds(database),
            outbox=outbox,
            publisher=publisher,
            rates=open_rates(settings),
            standing_orders=StandingOrderActivities(
                registered,
                keeper,
                PostgresTransactions(database),
                settings.waiting_rules,
                links_transfers=settings.transfers == "linked",
            ),
            sweep=sweep_activities(client, settings, database),
        )
        every_seconds = settings.maintenance_every_seconds
        maintenance = PostgresMaintenance(database, watch)
        relay = EventRelay(outbox, publisher, after_seconds=settings.relay_after_seconds)
        validator = FileValidator(payment_files, PostgresAccounts(database), settings.waiting_rules, bic=settings.bic)
        carried = PaymentFileActivities(validator, PaymentPosting(database))
        async with (
            worker,
            file_worker(client, settings, carried) if takes_files else nullcontext(),
            _upkeep(maintenance, every_seconds=every_seconds),
            _upkeep(keeper, every_seconds=every_seconds),
            _upkeep(file_keeper, every_seconds=every_seconds),
            _upkeep(relay, every_seconds=RELAY_EVERY_SECONDS if settings.relay_after_seconds else 0),
            scheduled_sweep(settings, client),
        ):
            _log.info("worker.started", task_queue=settings.task_queue, identity=client.identity)
            await stop.wait()
            _log.info("worker.stopping", finishes_within_seconds=GRACEFUL_SHUTDOWN.total_seconds())
        _log.info("worker.stopped")


def sweep_activities(client: Client, settings: Settings, database: Database) -> SweepActivities:
    """What compares this database with this Temporal."""
    executions = TransactionExecutions(client, settings.task_queue)
    name = settings.worker_deployment
    versions = WorkerDeployment(client, name, settings.task_queue) if name is not None else None
    return SweepActivities(PostgresUnsettled(database), executions, PostgresHolds(database), executions, versions)


def _check(settings: Settings) -> None:
    _required("temporal_address", settings.temporal_address)
    connection_of(settings)
    access_of(settings)


@asynccontextmanager
async def scheduled_sweep(settings: Settings, client: Client) -> AsyncIterator[None]:
    """See to it that the sweep is scheduled, beside the transactions: they go on while Temporal refuses or doesn't answer."""
    if not settings.sweep_every_seconds:
        yield
        return
    stop = asyncio.Event()
    ensure = partial(
        ensure_sweep_schedule,
        client,
        task_queue=settings.task_queue,
        every=timedelta(seconds=settings.sweep_every_seconds),
        order=whole_sweep(older_than_seconds=settings.sweep_after_seconds),
    )
    task = asyncio.create_task(_once_reachable(ensure, stop))
    task.add_done_callback(partial(_say_why_it_ended, event="worker.schedules-no-sweep"))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _upkeep(
    part: PostgresMaintenance | StandingOrderKeeper | FileKeeper | EventRelay, *, every_seconds: float
) -> AsyncIterator[None]:
    """What goes on beside the postings; cut off at the end, since each of its steps is whole."""
    if not every_seconds:
        yield
        return
    task = asyncio.create_task(part.keep_up(every_seconds=every_seconds))
    task.add_done_callback(partial(_say_why_it_ended, event="worker.upkeep-ended", part=type(part).__name__))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say_why_it_ended(task: asyncio.Task[None], *, event: str, **what: str) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error(event, error=repr(error), **what)


def main(arguments: Sequence[str]) -> None:
    """Run with the environment's settings until SIGTERM or SIGINT. Exit code 2: an address is missing, or a setting breaks a rule."""
    settings = Settings()
    try:
        if arguments == ["api"]:
            _serve_api(settings)
        else:
            _run_worker(settings)
    except InvalidInputError as error:
        _log.error("worker.misconfigured", error=str(error))
        sys.exit(_EXIT_CONFIGURATION)


def _run_worker(settings: Settings) -> None:
    configure_logging(settings)
    keep_messages_plain()
    start_tracing(settings, service="casaflow-worker")
    if settings.metrics_address is not None:
        keep_sdk_metrics()
    uvloop.run(_run_until_signalled(settings))


def _serve_api(settings: Settings) -> None:
    from starter.api.serving import serve  # noqa: PLC0415  a third of all that a process loads, and a worker needs none of it

    if not settings.api_workflow_tasks:
        serve(settings)
        return
    configure_logging(settings)
    keep_messages_plain()
    _check(settings)
    serve(settings, beside=lambda services: carrying(settings, services))


async def _run_until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


async def _given(client: Client) -> Client:
    return client


class _StoppedError(Exception):
    """The process was asked to stop while it still waited for a part."""


async def _once_reachable(reach: Callable[[], Awaitable[_Part]], stop: asyncio.Event) -> _Part:
    """Try until it works, with growing pauses and a log line for each; a newcomer's servers may start in any order."""
    pause = _FIRST_WAIT_SECONDS
    while not stop.is_set():
        try:
            return await reach()
        except UnavailableError as error:
            _log.warning("worker.waiting", part=error.part, detail=error.detail, tries_again_in_seconds=pause)
        try:
            await asyncio.wait_for(stop.wait(), timeout=pause)
        except TimeoutError:
            pause = min(pause * 2, _LONGEST_WAIT_SECONDS)
    raise _StoppedError


def _required(field: str, value: str | None) -> str:
    if value is None:
        raise InvalidInputError(field=f"CASAFLOW_{field.upper()}", value=value, rule="must be set; `casaflow up` sets it for its worker")
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
