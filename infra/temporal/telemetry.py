"""The metrics of Temporal's SDK, which its core keeps outside of Python and serves by itself."""

from __future__ import annotations

import socket
from typing import Final

import httpx
import structlog
from temporalio import activity, workflow
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

_log = structlog.get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_ATTEMPTS: Final = 5
_TIMEOUT_SECONDS: Final = 2.0


class _SdkMetrics:
    """Where the SDK of this process serves them; the runtime itself is one for the process as well."""

    url: str | None = None


def keep_sdk_metrics() -> None:
    """Let the SDK keep metrics, in the default runtime. Called once for a process, before its first client.

    The core serves them on a port of its own, on loopback; :func:`sdk_metrics` reads it, so that a process shows all its metrics at once.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        address = f"{_LOOPBACK}:{_free_port()}"
        # Units in names, seconds and not milliseconds: Prometheus' conventions, which the core leaves out unless asked.
        config = PrometheusConfig(bind_address=address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True)
        try:
            runtime = Runtime(telemetry=TelemetryConfig(metrics=config))
        except ValueError:
            # Somebody took the port in between. The core can't be given a socket, and doesn't say which port it got.
            if attempt == _ATTEMPTS:
                raise
            continue
        Runtime.set_default(runtime)
        _SdkMetrics.url = f"http://{address}/metrics"
        return


def keep_messages_plain() -> None:
    """Log lines of workflows and activities say once whose they are, in fields of their own, and not again in the message."""
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False


def quiet_sdk() -> None:
    """Let the SDK's core say errors only: it writes to standard output, where a benchmark prints JSON. Called before the first client."""
    quiet = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=quiet))))


def sdk_metrics() -> bytes:
    """The SDK's metrics in Prometheus' text format; nothing where it keeps none, or doesn't answer. Blocks for two seconds at most."""
    if _SdkMetrics.url is None:
        return b""
    try:
        answer = httpx.get(_SdkMetrics.url, timeout=_TIMEOUT_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        _log.warning("metrics.sdk-does-not-answer", error=repr(error))
        return b""
    return answer.content


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
