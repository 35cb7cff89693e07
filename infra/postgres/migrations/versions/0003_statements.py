"""Statements and balances in time: indexes in booking order, checkpoints, sums by value date.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(Path(__file__).with_name("0003_statements.sql").read_text(encoding="utf-8").replace("%", "%%"))
