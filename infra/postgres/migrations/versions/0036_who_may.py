"""Keys that expire, rotate and tell when they were last used; administrative acts.

Revision ID: 0036
Revises: 0032
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    statements = Path(__file__).with_name("0036_who_may.sql").read_text(encoding="utf-8")
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
