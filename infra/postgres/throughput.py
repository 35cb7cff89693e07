"""How many transactions ended in the last seconds, and how long they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ledger.throughput import EndedSecond, Throughput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

MOST_ROWS: Final = 50_000
"""Transactions that are looked at, so that nobody who watches a busy bank slows it down."""

# By the index on the time of submission. The window ends with the last full second, so that no second is shown before it is over.
_RECENT = text("""
    WITH recent AS MATERIALIZED (
        SELECT status, finished_at, greatest(0, extract(epoch FROM finished_at - submitted_at)) AS took
          FROM transaction
         WHERE tenant = :tenant AND submitted_at >= date_trunc('second', statement_timestamp()) - make_interval(secs => :seconds)
         ORDER BY submitted_at DESC
         LIMIT :most)
    SELECT date_trunc('second', finished_at) AS second, grouping(date_trunc('second', finished_at)) AS is_total,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'rejected') AS rejected,
           count(*) FILTER (WHERE status = 'reversed') AS reversed,
           count(*) FILTER (WHERE finished_at IS NULL) AS open,
           count(*) AS transactions,
           percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took) AS took
      FROM recent
     GROUP BY GROUPING SETS ((date_trunc('second', finished_at)), ())
     ORDER BY second
""")
_NOW = text("SELECT date_trunc('second', statement_timestamp())")


class PostgresThroughput:
    """What the ledger shows of its own pace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_seconds(self, tenant: str, *, seconds: int) -> Throughput:
        """What ended among the transactions that were submitted in the last seconds.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Throughput:
            until = (await connection.execute(_NOW)).scalar_one()
            rows = (await connection.execute(_RECENT, {"tenant": tenant, "seconds": seconds, "most": MOST_ROWS})).mappings().all()
            counts: dict[str, int] = {"completed": 0, "rejected": 0, "reversed": 0, "open": 0}
            took: tuple[float | None, float | None] = (None, None)
            ended, truncated = [], False
            for row in rows:
                median, slow = (_milliseconds(value) for value in row["took"] or (None, None))
                if row["is_total"]:
                    counts = {name: row[name] for name in counts}
                    took, truncated = (median, slow), row["transactions"] >= MOST_ROWS
                elif row["second"] is not None and row["second"] < until:
                    fields = {name: row[name] for name in ("completed", "rejected", "reversed")}
                    ended.append(EndedSecond(at=row["second"], latency_p50_ms=median, latency_p95_ms=slow, **fields))
            return Throughput(
                until=until,
                window_seconds=seconds,
                seconds=ended,
                truncated=truncated,
                latency_p50_ms=took[0],
                latency_p95_ms=took[1],
                **counts,
            )

        return await self._database.run(work)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(float(seconds) * 1000, 1)
