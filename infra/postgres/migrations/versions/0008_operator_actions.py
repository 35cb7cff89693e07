"""What operators did with transactions and holds.

Revision ID: 0008
Revises: 0010
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0010"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    text = Path(__file__).with_name("0008_operator_actions.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
