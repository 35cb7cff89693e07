"""The application's role, what a restored ledger allows, and maintenance.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the three SQL files beside this one; the privileges last, since they cover what the other two make."""
    connection = op.get_bind()
    for name in ("0006_refold.sql", "0006_maintenance.sql", "0006_roles.sql"):
        # exec_driver_sql without parameters sends the text as it is: several statements, dollar quotes and percent signs included.
        connection.exec_driver_sql(Path(__file__).with_name(name).read_text(encoding="utf-8").replace("%", "%%"))
