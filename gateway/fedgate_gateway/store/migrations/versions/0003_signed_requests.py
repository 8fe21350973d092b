"""What submitters signed: one request for each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_requests",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("signed_by", sa.String(length=16), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_requests_job_jobs"),
        sa.PrimaryKeyConstraint("job", name="pk_job_requests"),
        sa.UniqueConstraint("digest", name="uq_job_requests_digest"),
    )


def downgrade() -> None:
    op.drop_table("job_requests")
