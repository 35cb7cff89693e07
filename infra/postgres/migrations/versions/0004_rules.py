"""Rules of accounts, holds, reversals and linked legs, and the functions that post them in batches.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the two SQL files beside this one: what is stored, and what posts."""
    connection = op.get_bind()
    for name in ("0004_rules.sql", "0004_posting.sql"):
        # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
        connection.exec_driver_sql(Path(__file__).with_name(name).read_text(encoding="utf-8").replace("%", "%%"))
