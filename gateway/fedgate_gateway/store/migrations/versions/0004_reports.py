"""How far the reports of peers are written down, and what became of a job's sites."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "report_marks",
        sa.Column("peer", sa.String(length=80), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("outbox", sa.LargeBinary(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_report_marks_job_jobs"),
        sa.PrimaryKeyConstraint("peer", "job", "outbox", name="pk_report_marks"),
    )
    op.add_column("job_sites", sa.Column("state", sa.String(length=16), nullable=True))
    op.add_column("job_sites", sa.Column("why", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("job_sites", "why")
    op.drop_column("job_sites", "state")
    op.drop_table("report_marks")
