"""The service's database: its tables and how it is opened. SQLite by default, PostgreSQL by a URL.

Images and results are files (`store.py`); here is only what must change in one step.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from lesionlab.core.errors import ServeError

METADATA = MetaData()


class Words(TypeDecorator[str]):
    """Text for people that may quote a header, without NUL and lone surrogates, which PostgreSQL refuses."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """What is stored of a text."""
        return None if value is None else value.replace("\0", "").encode("utf-8", "replace").decode()


JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    # What a job is the only one for: the same study by the same route has the same key.
    Column("key", String(128), nullable=False, unique=True),
    Column("payload", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(64), nullable=False, default=""),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("progress", Float, nullable=False, default=0.0),
    Column("message", Words, nullable=False, default=""),
    Column("error", Words, nullable=False, default=""),
    Index("jobs_by_state", "state", "kind", "not_before", "created"),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("who", Words(128), nullable=False),
    Column("what", String(64), nullable=False),
    Column("subject", Words(256), nullable=False),
)


OWNER = Table(
    "owner",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    # The data folder whose files the jobs are about: there is one row.
    Column("identity", String(32), nullable=False),
)


def open_database(url: str) -> Engine:
    """The database at a URL, its tables made where they are missing.

    SQLite is put into write-ahead mode with full synchronisation, so that several processes can use it and
    what was committed survives a loss of power. Raises ServeError when it cannot be opened.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, pool_pre_ping=True)
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _sqlite_settings)
            event.listen(engine, "begin", _begin_immediate)
        METADATA.create_all(engine)
    except (SQLAlchemyError, ArgumentError, ImportError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        subject = url.split("@")[-1]
        raise ServeError(subject, reason, "a database that can be opened") from None
    return engine


def require_owner(engine: Engine, identity: str) -> None:
    """Make a database that of one data folder, whose files its jobs name. Raises ServeError for another's."""
    try:
        with engine.begin() as connection:
            known = connection.execute(select(OWNER.c.identity)).scalar()
            if known is None:
                connection.execute(insert(OWNER).values(number=1, identity=identity))
    except IntegrityError:
        # another service came first just now
        with engine.begin() as connection:
            known = connection.execute(select(OWNER.c.identity)).scalar()
    if known not in (None, identity):
        subject = str(engine.url).split("@")[-1]
        raise ServeError(subject, "the database of another data folder", "a database of its own")


def _sqlite_settings(connection: Any, _: Any) -> None:
    # pysqlite would begin transactions by itself, later than we need
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # reading first and writing later in one transaction would fail when another process writes in between
    connection.exec_driver_sql("BEGIN IMMEDIATE")
