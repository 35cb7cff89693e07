"""Whether new work is taken.

Revision ID: 0040
Revises: 0034
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0040"
down_revision = "0034"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    statements = Path(__file__).with_name("0040_intake.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
