"""What the front office keeps: numbers of jobs, keys of submitters, and logins."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fedgate_gateway.store.base import Base, UtcDateTime


class JobNumberRow(Base):
    """What a framework's own command calls a job."""

    __tablename__ = "job_numbers"
    __table_args__ = (Index("uq_job_numbers_framework_job", "framework", "job", unique=True),)

    framework: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"))


class TokenRecipientRow(Base):
    """The public key that outputs are sealed to when a token's holder names none: raw X-Wing."""

    __tablename__ = "token_recipients"

    token: Mapped[str] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(1216))


class LoginRow(Base):
    """A command that acts in a token's name until it expires; its own secret is never stored."""

    __tablename__ = "logins"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[str] = mapped_column(ForeignKey("tokens.id"), index=True)
    refresh_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # SHA-256
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked: Mapped[datetime | None] = mapped_column(UtcDateTime)
