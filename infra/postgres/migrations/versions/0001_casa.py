"""The CASA tables, the balance view, and the functions that post.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the two SQL files beside this one: what is stored, and what posts."""
    connection = op.get_bind()
    for name in ("0001_tables.sql", "0001_posting.sql"):
        # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
        connection.exec_driver_sql(Path(__file__).with_name(name).read_text(encoding="utf-8").replace("%", "%%"))
