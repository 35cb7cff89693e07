"""Logging of every process: one line per event to standard error, with what is bound (tenant, transaction id) on each line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from infra import tracing
from ledger.errors import InvalidInputError
from ledger.ids import transaction_of_workflow

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from infra.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send structlog's and the standard library's lines through the same formatter."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _of_trace,
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _of_temporal],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)


def _of_trace(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The trace that a line belongs to, where there is one; named as OpenTelemetry names them in logs that aren't its own."""
    if (ids := tracing.current_ids()) is not None:
        line["trace_id"], line["span_id"] = ids
    return line


def _of_temporal(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """What Temporal's SDK adds to the lines of workflows and activities, under the names that all other lines use."""
    for name in ("temporal_workflow", "temporal_activity"):
        found = line.pop(name, None)
        if not isinstance(found, dict):
            continue
        identifier = str(found.get("workflow_id") or "")
        run_id = found.get("run_id") or found.get("workflow_run_id")
        line.update({"workflow_id": identifier, "run_id": run_id, "attempt": found.get("attempt")})
        try:
            tenant, transaction_id = transaction_of_workflow(identifier)
        except InvalidInputError:
            continue  # of a hold, or a standing order; its id says so
        line.update({"tenant": tenant, "transaction_id": transaction_id})
    return line
