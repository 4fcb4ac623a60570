"""A PostgreSQL server of our own for the tests: in a temporary folder, on loopback, gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_phantoms import free_port, until

PLACES = Path("/usr/lib/postgresql")
USER = "postgres"


def missing() -> str:
    """What is not installed; empty when a server can be started."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is missing (the extra postgres)"
    if not _programs():
        return "the PostgreSQL server is missing (Debian's package postgresql)"
    if os.getuid() == 0 and not _known_user():
        return "the user postgres is missing, and a PostgreSQL server does not run as root"
    return ""


def _programs() -> Path | None:
    found = sorted(PLACES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _known_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server until the end; gives the URL of its database."""
    programs, port = _programs(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    user = USER if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    names = {"user": user, "cwd": folder}
    initialise = [programs / "initdb", "-D", data, "-A", "trust", "-U", "lesionlab", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, **names)
    command = [programs / "postgres", "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-F"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **names)
        try:
            ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            until(lambda: subprocess.run(ask).returncode == 0 or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            yield f"postgresql+psycopg://lesionlab@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)
