"""The queue: jobs that survive a kill at any point and are each done exactly once.

A job is claimed for a time (a lease) that its worker renews; a worker that dies loses the lease and the job
is tried again, until its attempts are used up. What follows from a job (deliveries) is queued in the very
transaction that marks it done. Running jobs is `worker.py`'s business.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from lesionlab.core.errors import ServeError
from lesionlab.serve.tables import AUDIT, JOBS, open_database

Kind = Literal["examine", "compare", "accept", "deliver", "fetch"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]
Clock = Callable[[], float]
FINISHED = ("done", "failed", "cancelled")
WORKERS_KINDS: tuple[Kind, ...] = ("examine", "compare", "accept")
"""What workers do, in processes that may die of it. The others are the service's own threads' work: that it
was killed says nothing about them.
"""
LONGEST_KEY = 128
KEPT_LETTERS = 97
"""So much of a longer key stays readable: the UID of a study and the digest of its instances."""


@dataclass(frozen=True)
class Order:
    """A job to be queued. `key` is what it is the only one for; `payload` holds JSON values."""

    kind: Kind
    key: str
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A queued job as it stands; times are seconds since 1970."""

    id: str
    kind: Kind
    key: str
    payload: dict[str, Any]
    state: State
    attempts: int
    worker: str
    created: float
    changed: float
    progress: float
    message: str
    error: str


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to which study or job, and when. Never a patient's name."""

    time: float
    who: str
    what: str
    subject: str


class Queue:
    """All jobs of one service. Safe for several threads and processes at once."""

    def __init__(self, url: str, *, clock: Clock = time.time) -> None:
        self.engine: Engine = open_database(url)
        self.clock = clock

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def submit(self, order: Order, *, most_waiting: int | None = None, who: str = "service") -> Job:
        """Queue a job; the one that has its key already is returned as it stands.

        Raises ServeError when `most_waiting` jobs are waiting already.
        """
        try:
            with self.engine.begin() as connection:
                known = _by(connection, JOBS.c.key == short_key(order.key))
                if known is not None:
                    return known
                if most_waiting is not None:
                    waiting = _count(connection, "waiting")
                    if waiting >= most_waiting:
                        raise ServeError("queue", f"{waiting} jobs waiting", f"fewer than {most_waiting}")
                job_id = self._insert(connection, order)
                self._note(connection, who, f"queued {order.kind}", job_id)
                return _needed(_by(connection, JOBS.c.id == job_id), job_id)
        except IntegrityError:
            # another process queued the same in between
            with self.engine.begin() as connection:
                return _needed(_by(connection, JOBS.c.key == short_key(order.key)), order.key)

    def claim(self, worker: str, kinds: Sequence[Kind], lease_s: float) -> Job | None:
        """The oldest waiting job of these kinds, now this worker's for `lease_s`; None when there is none."""
        now = self.clock()
        # changed later than now: the clock was set back, and the end of its pause may be far away
        due = or_(JOBS.c.not_before <= now, JOBS.c.changed > now)
        with self.engine.begin() as connection:
            wanted = (
                select(JOBS.c.id)
                .where(JOBS.c.state == "waiting", JOBS.c.kind.in_(kinds), due)
                .order_by(JOBS.c.not_before, JOBS.c.created, JOBS.c.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            job_id = connection.execute(wanted).scalar()
            if job_id is None:
                return None
            connection.execute(
                update(JOBS)
                .where(JOBS.c.id == job_id)
                .values(
                    state="running",
                    worker=worker,
                    lease_until=now + lease_s,
                    attempts=JOBS.c.attempts + 1,
                    changed=now,
                    progress=0.0,
                    message="",
                )
            )
            return _by(connection, JOBS.c.id == job_id)

    def renew(self, job: Job, lease_s: float, progress: float = 0.0, message: str = "") -> bool:
        """Prolong the lease and note the progress; False when the job is no longer this worker's."""
        now = self.clock()
        changes = {"lease_until": now + lease_s, "changed": now, "progress": progress, "message": message}
        with self.engine.begin() as connection:
            return self._change(connection, job, changes)

    def finish(self, job: Job, following: Sequence[Order] = (), message: str = "") -> bool:
        """Mark a job done and queue what follows, in one step; False when it is no longer this worker's."""
        with self.engine.begin() as connection:
            done = {
                "state": "done",
                "changed": self.clock(),
                "progress": 1.0,
                "message": message,
                "error": "",
            }
            if not self._change(connection, job, done):
                return False
            for order in following:
                if _by(connection, JOBS.c.key == short_key(order.key)) is None:
                    self._insert(connection, order)
            self._note(connection, job.worker, f"{job.kind} done", job.id)
            return True

    def fail(self, job: Job, reason: str) -> bool:
        """Keep a job as failed with its reason; it is not tried again by itself."""
        with self.engine.begin() as connection:
            changes = {"state": "failed", "changed": self.clock(), "error": reason}
            if not self._change(connection, job, changes):
                return False
            self._note(connection, job.worker, f"{job.kind} failed", job.id)
            return True

    def postpone(self, job: Job, reason: str, seconds: float) -> bool:
        """Put a job back for a while (its destination does not answer); the attempt does not count."""
        now = self.clock()
        changes = {
            "state": "waiting",
            "changed": now,
            "not_before": now + seconds,
            "error": reason,
            "worker": "",
            "attempts": JOBS.c.attempts - 1,
        }
        with self.engine.begin() as connection:
            return self._change(connection, job, changes)

    def release(
        self, most_attempts: int, *, worker: str | None = None, everyone: bool = False, reason: str = ""
    ) -> int:
        """Take back the running jobs of a dead worker, or all whose lease has run out; returns how many.

        They wait again, or have failed when their attempts are used up. `everyone`: all running jobs, for a
        service that starts and knows that no other runs.
        """
        now = self.clock()
        lost = JOBS.c.worker == worker if worker is not None else JOBS.c.lease_until < now
        lost = JOBS.c.state == "running" if everyone else lost
        why = reason or "its worker died or did not answer"
        with self.engine.begin() as connection:
            # locked, so that no worker finishes between our look and our change
            rows = connection.execute(
                select(JOBS.c.id, JOBS.c.attempts, JOBS.c.kind)
                .where(JOBS.c.state == "running", lost)
                .with_for_update()
            ).all()
            for job_id, attempts, kind in rows:
                spent = attempts >= most_attempts and kind in WORKERS_KINDS
                text = f"{why} (attempt {attempts} of {most_attempts})"
                connection.execute(
                    update(JOBS)
                    .where(JOBS.c.id == job_id)
                    .values(
                        state="failed" if spent else "waiting",
                        worker="",
                        changed=now,
                        error=text,
                        not_before=now,
                    )
                )
                self._note(connection, "service", "gave up" if spent else "took back", job_id)
            return len(rows)

    def retry(self, job_id: str, who: str = "service") -> Job:
        """Queue a failed or cancelled job again. Raises ServeError for any other, or an unknown one."""
        fresh = {"state": "waiting", "attempts": 0, "not_before": 0.0, "error": "", "worker": ""}
        return self._turn(job_id, ("failed", "cancelled"), fresh, "retried", who)

    def cancel(
        self, job_id: str, who: str = "service", *, reason: str = "cancelled", running: bool = True
    ) -> Job:
        """Cancel a job that waits or, if `running`, runs: its worker notices when it renews the lease."""
        changes = {"state": "cancelled", "worker": "", "error": reason}
        states: tuple[State, ...] = ("waiting", "running") if running else ("waiting",)
        return self._turn(job_id, states, changes, "cancelled", who)

    def supersede(self, job: Job, study_uid: str) -> int:
        """Cancel the other waiting examinations of a study, when this is of more of it; returns how many."""
        others = (
            JOBS.c.kind == "examine",
            JOBS.c.state == "waiting",
            JOBS.c.id != job.id,
            JOBS.c.key.startswith(f"{study_uid}:", autoescape=True),
        )
        with self.engine.begin() as connection:
            rows = connection.execute(select(JOBS.c.id).where(*others).with_for_update()).scalars().all()
            changes = {
                "state": "cancelled",
                "error": "a newer job examines this study",
                "changed": self.clock(),
            }
            connection.execute(update(JOBS).where(JOBS.c.id.in_(rows)).values(changes))
            for job_id in rows:
                self._note(connection, "service", "superseded", job_id)
            return len(rows)

    def job(self, job_id: str) -> Job | None:
        """A job by its id."""
        with self.engine.begin() as connection:
            return _by(connection, JOBS.c.id == job_id)

    def by_key(self, key: str) -> Job | None:
        """A job by its key."""
        with self.engine.begin() as connection:
            return _by(connection, JOBS.c.key == short_key(key))

    def examined(self, begin: str) -> Job | None:
        """The newest examination whose key begins so and that a route took; None where there is none."""
        wanted = select(JOBS).where(JOBS.c.kind == "examine", JOBS.c.key.startswith(begin, autoescape=True))
        with self.engine.begin() as connection:
            rows = connection.execute(wanted.order_by(JOBS.c.created.desc()))
            return next((job for job in map(_job, rows) if "refused" not in job.payload), None)

    def jobs(self, *, state: State | None = None, kind: Kind | None = None, most: int = 100) -> list[Job]:
        """The newest jobs first."""
        wanted = select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(most)
        if state is not None:
            wanted = wanted.where(JOBS.c.state == state)
        if kind is not None:
            wanted = wanted.where(JOBS.c.kind == kind)
        with self.engine.begin() as connection:
            return [_job(row) for row in connection.execute(wanted)]

    def forget(self, job_ids: Sequence[str]) -> list[str]:
        """Delete jobs that have ended, and note it; returns the ids of those that were deleted."""
        gone = []
        with self.engine.begin() as connection:
            for job_id in job_ids:
                ended = delete(JOBS).where(JOBS.c.id == job_id, JOBS.c.state.in_(FINISHED))
                if connection.execute(ended).rowcount:
                    self._note(connection, "service", "deleted", job_id)
                    gone.append(job_id)
        return gone

    def counts(self, kinds: Sequence[Kind] = get_args(Kind)) -> dict[str, int]:
        """How many jobs of these kinds are in each state; states without a job are left out."""
        wanted = select(JOBS.c.state, func.count()).where(JOBS.c.kind.in_(kinds)).group_by(JOBS.c.state)
        with self.engine.begin() as connection:
            return {str(state): int(count) for state, count in connection.execute(wanted)}

    def note(self, who: str, what: str, subject: str) -> None:
        """Write to the audit log."""
        with self.engine.begin() as connection:
            self._note(connection, who, what, subject)

    def audit(self, most: int = 1000) -> list[AuditEntry]:
        """The newest entries of the audit log first."""
        wanted = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(most)
        with self.engine.begin() as connection:
            return [
                AuditEntry(row.time, row.who, row.what, row.subject) for row in connection.execute(wanted)
            ]

    def _insert(self, connection: Connection, order: Order) -> str:
        now, job_id = self.clock(), uuid.uuid4().hex
        connection.execute(
            insert(JOBS).values(
                id=job_id,
                kind=order.kind,
                key=short_key(order.key),
                payload=json.dumps(order.payload),
                state="waiting",
                created=now,
                changed=now,
            )
        )
        return job_id

    def _change(self, connection: Connection, job: Job, changes: dict[str, Any]) -> bool:
        """Change a job that is still this worker's at this attempt; False when it is not."""
        mine = (
            JOBS.c.id == job.id,
            JOBS.c.state == "running",
            JOBS.c.worker == job.worker,
            JOBS.c.attempts == job.attempts,
        )
        return bool(connection.execute(update(JOBS).where(*mine).values(changes)).rowcount)

    def _turn(
        self, job_id: str, states: tuple[State, ...], changes: dict[str, Any], what: str, who: str
    ) -> Job:
        with self.engine.begin() as connection:
            known = _by(connection, JOBS.c.id == job_id, lock=True)
            if known is None:
                raise ServeError(job_id, "no such job", "the id of a queued job")
            if known.state not in states:
                raise ServeError(job_id, f"a job that is {known.state}", f"one that is {' or '.join(states)}")
            connection.execute(
                update(JOBS).where(JOBS.c.id == job_id).values(**changes, changed=self.clock())
            )
            self._note(connection, who, what, job_id)
            return _needed(_by(connection, JOBS.c.id == job_id), job_id)

    def _note(self, connection: Connection, who: str, what: str, subject: str) -> None:
        connection.execute(
            insert(AUDIT).values(time=self.clock(), who=who[:128], what=what[:64], subject=subject[:256])
        )


def short_key(key: str) -> str:
    """A key as the database holds it: of one that is too long the beginning, and a digest of the whole.

    SQLite would take any length, PostgreSQL refuses what is longer than its column.
    """
    if len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[:KEPT_LETTERS]}~{digest}"[:LONGEST_KEY]


def _by(connection: Connection, condition: Any, *, lock: bool = False) -> Job | None:
    wanted = select(JOBS).where(condition)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    return None if row is None else _job(row)


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        key=row.key,
        payload=json.loads(row.payload),
        state=row.state,
        attempts=row.attempts,
        worker=row.worker,
        created=row.created,
        changed=row.changed,
        progress=row.progress,
        message=row.message,
        error=row.error,
    )


def _needed(job: Job | None, subject: str) -> Job:
    if job is None:
        raise ServeError(subject, "a job that vanished", "a database that nothing else writes to")
    return job


def _count(connection: Connection, state: State) -> int:
    found = connection.execute(select(func.count()).select_from(JOBS).where(JOBS.c.state == state)).scalar()
    return int(found or 0)
