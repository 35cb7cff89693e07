"""Which expired holds were told of: what the sweep looks for.

Revision ID: 0022
Revises: 0008
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0008"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    statements = Path(__file__).with_name("0022_told_holds.sql").read_text(encoding="utf-8")
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
