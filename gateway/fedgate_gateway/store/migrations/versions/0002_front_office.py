"""Frameworks' own commands: numbers of jobs, recipient keys of tokens, and logins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_numbers",
        sa.Column("framework", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_numbers_job_jobs"),
        sa.PrimaryKeyConstraint("framework", "number", name="pk_job_numbers"),
    )
    op.create_index(
        "uq_job_numbers_framework_job", "job_numbers", ["framework", "job"], unique=True
    )
    op.create_table(
        "logins",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("refresh_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["token"], ["tokens.id"], name="fk_logins_token_tokens"),
        sa.PrimaryKeyConstraint("id", name="pk_logins"),
        sa.UniqueConstraint("refresh_hash", name="uq_logins_refresh_hash"),
    )
    op.create_index("ix_logins_token", "logins", ["token"])
    op.create_table(
        "token_recipients",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=1216), nullable=False),
        sa.ForeignKeyConstraint(["token"], ["tokens.id"], name="fk_token_recipients_token_tokens"),
        sa.PrimaryKeyConstraint("token", name="pk_token_recipients"),
    )


def downgrade() -> None:
    op.drop_table("token_recipients")
    op.drop_index("ix_logins_token", "logins")
    op.drop_table("logins")
    op.drop_index("uq_job_numbers_framework_job", "job_numbers")
    op.drop_table("job_numbers")
