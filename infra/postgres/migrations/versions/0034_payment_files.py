"""Payment files, their lines, and what became of them.

Revision ID: 0034
Revises: 0032
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0034"
down_revision = "0036"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    statements = Path(__file__).with_name("0034_payment_files.sql").read_text(encoding="utf-8")
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
