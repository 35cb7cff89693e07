"""Roles of their own for relays and consumers.

Revision ID: 0041
Revises: 0040
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    """Run the SQL file beside this one."""
    # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
    statements = Path(__file__).with_name("0041_lesser_roles.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
