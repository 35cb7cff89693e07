"""Events of holds, and the register of standing orders.

Revision ID: 0010
Revises: 0006
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0006"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    statements = Path(__file__).with_name("0010_orders.sql").read_text(encoding="utf-8")
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
