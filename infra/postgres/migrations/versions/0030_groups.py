"""A store for each consumer group; the audit group counts repeats.

Revision ID: 0030
Revises: 0022
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0022"

_GROUPS = ("statement", "notification", "mis")
_AUDIT = """
    ALTER TABLE audit.consumer_offset ADD COLUMN repeats bigint NOT NULL DEFAULT 0; -- events that came again, and were not appended again
"""


def upgrade() -> None:
    """Run the SQL file beside this one for each group."""
    store = Path(__file__).with_name("0030_groups.sql").read_text(encoding="utf-8")
    for statements in (*(store.replace("a_group", group) for group in _GROUPS), _AUDIT):
        # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
