"""What a framework's own command calls a job, both ways, for as long as the job is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from fedgate.errors import Conflict, NotFound
from fedgate_gateway.front.tables import JobNumberRow
from fedgate_gateway.store import Database
from fedgate_gateway.store.tables import JobRow

_LARGEST = 2**63 - 1
_AT_ONCE = 500


class JobNumbers:
    """The numbers of one framework; ``make`` says the number of a job id."""

    def __init__(self, database: Database, framework: str, make: Callable[[str], int]) -> None:
        self._database = database
        self._framework = framework
        self._make = make

    def of(self, jobs: Sequence[str]) -> dict[str, int]:
        """The numbers of these jobs; those that have none yet get theirs.

        Jobs may come in by another way than the framework's command, and are seen by it all the
        same. Raises :class:`Conflict` when a number is taken by another job.
        """
        known = self._known(jobs)
        fresh = {job: self._checked(job) for job in jobs if job not in known}
        if fresh:
            try:
                self._keep(fresh)
            except IntegrityError:  # somebody else kept them just now, or a number is taken
                found = self._known(jobs)
                if taken := [job for job in fresh if job not in found]:
                    raise Conflict(f"the number of {taken[0]} belongs to another job") from None
        return known | fresh

    def job(self, number: int) -> str:
        """Whose number this is; raises :class:`NotFound`."""
        if 0 < number <= _LARGEST:
            found = self._job(number)
            if found is None and self.of(self._unnumbered()):  # it came in by another way
                found = self._job(number)
            if found is not None:
                return found
        raise no_run(number)

    def _job(self, number: int) -> str | None:
        with self._database.read() as session:
            row = session.get(JobNumberRow, (self._framework, number))
            return None if row is None else row.job

    def _unnumbered(self) -> Sequence[str]:
        """The framework's newest jobs that nobody has asked for yet."""
        numbered = select(JobNumberRow.job).where(JobNumberRow.framework == self._framework)
        query = select(JobRow.id).where(
            JobRow.framework == self._framework, JobRow.id.not_in(numbered)
        )
        with self._database.read() as session:
            return session.scalars(query.order_by(JobRow.id.desc()).limit(_AT_ONCE)).all()

    def _known(self, jobs: Sequence[str]) -> dict[str, int]:
        query = select(JobNumberRow.job, JobNumberRow.number).where(
            JobNumberRow.framework == self._framework, JobNumberRow.job.in_(jobs)
        )
        with self._database.read() as session:
            return dict(session.execute(query).tuples().all())

    def _checked(self, job: str) -> int:
        number = self._make(job)
        if not 0 < number <= _LARGEST:
            raise Conflict(f"{number} cannot be the number of a job")
        return number

    def _keep(self, numbers: dict[str, int]) -> None:
        with self._database.write() as session:
            for job, number in numbers.items():
                session.add(JobNumberRow(framework=self._framework, number=number, job=job))


def no_run(number: int) -> NotFound:
    """The same words for a run that is not there and for one that is not to be seen."""
    return NotFound(f"there is no run {number} that you may see", remedy="see `flwr ls`")
