"""A transaction that has ended takes no further leg, and an internal account none of a customer.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Replace the two functions that post."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    name = "0003_ended_transactions.sql"
    op.get_bind().exec_driver_sql(Path(__file__).with_name(name).read_text(encoding="utf-8").replace("%", "%%"))
