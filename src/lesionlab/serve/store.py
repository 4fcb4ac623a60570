"""Studies on disk: what was received, file by file, and what came of it.

    DATA/studies/STUDY/SOP_INSTANCE.dcm     received by DICOM, sender.txt beside; STUDY is its UID
    DATA/studies/STUDY/SOP_INSTANCE~ID      it came again with another content, which replaced the first
    DATA/uploads/ID/...                     received by REST or from the page
    DATA/results/JOB/                       what `examine` wrote, renamed here when complete
    DATA/own/SOP_INSTANCE                   objects that we made: when a PACS sends them back they are no news
    DATA/trash/                             what is being deleted; STUDY~DIGEST while it may still come back
    DATA/identity                           what the service's database knows this folder by

A file appears under its name only when all of it is on disk. Names come from senders: only UIDs and plain
names are let through, so that nothing can be written elsewhere. Which jobs there are is `jobs.py`'s business.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.errors import ServeError, WriteError
from lesionlab.serve.again import says_the_same

UID = re.compile(r"^[0-9]+(\.[0-9]+)*$")
"""A DICOM UID (PS3.5 section 9.1): digits and dots, 64 characters at most."""
LONGEST_UID = 64
SENDER = "sender.txt"
ASIDE = "~"
"""Between a study's UID and the digest of what is to be deleted of it, and in the name of a change."""
PLAIN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")


@dataclass(frozen=True)
class Received:
    """A study as it lies on disk: `files` in order of their names, `last` the time of its newest change.

    `changes` names what was replaced since it first came.
    """

    study_uid: str
    folder: Path
    files: tuple[Path, ...]
    last: float
    changes: tuple[str, ...] = ()

    @property
    def sender(self) -> str:
        """AE title of the first sender; empty where it is not known."""
        try:
            return (self.folder / SENDER).read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def digest(self) -> str:
        """What it holds: equal when the same instances were sent again, in whatever order."""
        names = "\n".join([*(file.name for file in self.files), *self.changes])
        return hashlib.sha256(names.encode()).hexdigest()[:32]


class Store:
    """The folder of one service."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.studies, self.uploads = root / "studies", root / "uploads"
        self.results, self.own, self.trash = root / "results", root / "own", root / "trash"
        try:
            for folder in (self.studies, self.uploads, self.results, self.own, self.trash):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServeError(root, error.strerror or str(error), "a folder that can be written") from None

    @property
    def identity(self) -> str:
        """What the database knows this folder by, wherever it is moved to; made when first asked for."""
        file = self.root / "identity"
        if not file.is_file():
            try:
                _keep(file, self.root / f".{uuid.uuid4().hex}.part", uuid.uuid4().hex.encode())
                sync(self.root)
            except OSError as error:
                raise WriteError(file, error.strerror or str(error), "a folder that can be written") from None
        return file.read_text(encoding="utf-8")

    def put_instance(
        self, study_uid: str, sop_uid: str, content: bytes | bytearray | memoryview, *, sender: str = ""
    ) -> bool:
        """Keep one DICOM file; True when it is news, False when it was there already or is one of our own.

        What came before with another content is replaced, which is news unless only traces of the way differ.
        `sender` is the AE title that it came from, kept with the study. Returns only when the content is on
        disk (synchronised): the sender may forget it then. Raises ServeError for UIDs that are none, and
        WriteError when the disk refuses.
        """
        folder = self.study_folder(study_uid)
        target = folder / f"{_uid(sop_uid)}.dcm"
        if (self.own / sop_uid).exists():
            return False
        temporary = folder / f".{uuid.uuid4().hex}.part"
        try:
            kept = target.read_bytes() if target.exists() else None
            if kept == content:
                # it may have come a moment ago, and its name not be on disk yet
                sync(folder)
                return False
            if not (folder / SENDER).is_file():
                folder.mkdir(exist_ok=True)
                _keep(folder / SENDER, temporary, sender.encode())
                sync(self.studies)
            known = kept is not None and says_the_same(kept, bytes(content))
            _write(temporary, content)
            if kept is not None and not known:
                # before the content: a kill in between costs one examination too many, never one too few
                (folder / f"{sop_uid}{ASIDE}{uuid.uuid4().hex}").touch()
                sync(folder)
            temporary.replace(target)
            # the name must survive a loss of power like the content
            sync(folder)
        except OSError as error:
            raise WriteError(target, error.strerror or str(error), "a disk with enough space") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return not known

    def mark_own(self, sop_uid: str) -> None:
        """Remember that we made an object, so that its return from a PACS is no new work."""
        (self.own / _uid(sop_uid)).touch()

    def settle(self, folder: Path) -> None:
        """Synchronise a folder of results or uploads with the disk, before anybody relies on it."""
        try:
            for path in [*folder.rglob("*"), folder, folder.parent, self.own]:
                sync(path)
        except OSError as error:
            raise WriteError(folder, error.strerror or str(error), "a disk with enough space") from error

    def study_folder(self, study_uid: str) -> Path:
        """Where a study's instances lie; ServeError for a UID that is none."""
        return self.studies / _uid(study_uid)

    def study(self, study_uid: str) -> Received | None:
        """A study's instances as they lie there now; None when there are none."""
        return _received(study_uid, self.study_folder(study_uid))

    def all_studies(self) -> Iterator[Received]:
        """Every study with an instance, as after a restart."""
        for folder in sorted(self.studies.iterdir()):
            found = self.study(folder.name) if UID.fullmatch(folder.name) else None
            if found is not None:
                yield found

    def new_upload(self) -> tuple[str, Path]:
        """A fresh folder for uploaded files and its id. Its files count only when a job names the folder."""
        name = uuid.uuid4().hex
        folder = self.uploads / name
        try:
            folder.mkdir()
        except OSError as error:
            raise WriteError(folder, error.strerror or str(error), "a disk with enough space") from error
        return name, folder

    def result_folder(self, job_id: str) -> Path:
        """Where a job's results appear when they are complete; ServeError for a name that is none."""
        return self.results / _plain(job_id)

    def result_file(self, job_id: str, name: str) -> Path:
        """A file of a job's results by its path within; ServeError where it is missing or outside."""
        folder = self.result_folder(job_id).resolve()
        file = (folder / name).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            raise ServeError(job_id, f"no result {name[:80]!r}", "one of the job's files")
        return file

    def discard(self, folder: Path) -> None:
        """Delete a folder of this store: out of sight in one step, then file by file."""
        if (
            not folder.resolve().is_relative_to(self.root.resolve())
            or folder.resolve() == self.root.resolve()
        ):
            raise ServeError(folder, "a folder outside the store", "one of its own")
        gone = self.trash / uuid.uuid4().hex
        with suppress(FileNotFoundError):
            folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def discard_study(self, study: Received) -> bool:
        """Delete a study; False, and nothing is lost, when an instance came just now.

        Until that is known the folder keeps both names in its own: a kill in between loses nothing either.
        """
        aside = self.trash / f"{study.study_uid}{ASIDE}{study.digest}"
        with suppress(FileNotFoundError):
            study.folder.replace(aside)
        return not self._brought_back(aside)

    def _brought_back(self, aside: Path) -> bool:
        """Put a study back that is more than was to be deleted, True then; delete it otherwise."""
        study_uid, _, digest = aside.name.partition(ASIDE)
        found = _received(study_uid, aside)
        if found is None or found.digest == digest:
            self.discard(aside)
            return False
        folder = self.study_folder(study_uid)
        folder.mkdir(exist_ok=True)
        for file in aside.iterdir():
            # what came there since is the newer one
            if not (folder / file.name).exists():
                file.replace(folder / file.name)
        sync(folder)
        self.discard(aside)
        return True

    def sweep(self) -> None:
        """Remove what a kill left behind: half-written files and half-deleted folders."""
        for rest in self.trash.iterdir():
            if ASIDE in rest.name:
                self._brought_back(rest)
            else:
                shutil.rmtree(rest, ignore_errors=True)
        for part in [
            *self.root.glob(".*.part"),
            *self.studies.glob("*/.*.part"),
            *self.results.glob(".*.part"),
        ]:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)

    def free_gb(self) -> float:
        """Free space of the disk, in 10^9 bytes."""
        return shutil.disk_usage(self.root).free / 1e9


def _received(study_uid: str, folder: Path) -> Received | None:
    try:
        files = sorted(folder.glob("*.dcm"))
        changes = sorted(file.name for file in folder.glob(f"*{ASIDE}*"))
        last = folder.stat().st_mtime
    except OSError:
        return None
    return Received(study_uid, folder, tuple(files), last, tuple(changes)) if files else None


def sync(path: Path) -> None:
    """Return when a file's content, or a folder's names, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep(target: Path, temporary: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file that appears under its name when all of it is on disk. Raises OSError."""
    _write(temporary, content)
    temporary.replace(target)


def _write(file: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file and return when it is on disk. Raises OSError."""
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _uid(text: str) -> str:
    if not UID.fullmatch(text) or len(text) > LONGEST_UID:
        raise ServeError("received object", f"UID {text[:80]!r}", "digits and dots, 64 characters at most")
    return text


def _plain(text: str) -> str:
    if not PLAIN_NAME.fullmatch(text):
        raise ServeError("name", repr(text[:80]), "letters, digits, '.', '_' and '-'")
    return text
