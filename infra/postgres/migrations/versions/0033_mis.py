"""The totals of the group mis.

Revision ID: 0033
Revises: 0031
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0031"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    statements = Path(__file__).with_name("0033_mis.sql").read_text(encoding="utf-8")
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
