"""The audit group's schema: hash chains of events, and the group's offsets.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    op.get_bind().exec_driver_sql(Path(__file__).with_name("0002_audit.sql").read_text(encoding="utf-8").replace("%", "%%"))
