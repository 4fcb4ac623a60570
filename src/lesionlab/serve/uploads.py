"""Uploaded files onto disk, within bounds: nothing larger, nothing more, nothing elsewhere than allowed.

An upload is a ZIP of DICOM files, or a single image file. Nothing is decoded here but the ZIP itself.
"""

from __future__ import annotations

import errno
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from lesionlab.core.errors import ServeError, WriteError
from lesionlab.serve.settings import LimitSettings

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")
"""Image files that are taken as they are; anything else must be a ZIP or a DICOM file."""
SIGNATURES: dict[str, tuple[bytes, ...]] = {
    ".nii.gz": (b"\x1f\x8b",),
    ".nii": tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")),
    ".nrrd": (b"NRRD",),
    ".mha": (b"ObjectType", b"NDims", b"Comment"),
    ".png": (b"\x89PNG",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".tif": (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"),
    ".tiff": (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"),
    ".dcm": (b"\x08\0", b"\0\x08"),
}
"""How files of each suffix begin; DICOM without its mark begins with group 0008, in either byte order."""
CHUNK = 1 << 20
HEAD = 132
ZIP_START, DICOM_MARK = b"PK\x03\x04", b"DICM"
NAME = re.compile(r"[^A-Za-z0-9_.-]+")
LONGEST_NAME = 100
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, UnicodeDecodeError),
)
NOT_THE_DISK = (None, errno.EINVAL)
"""What a broken ZIP raises: its own errors and those of its decompressors, and of an OSError the numbers that
bzip2 data and places outside the file give.
"""
UNPACKED = "files"
"""The folder of what a ZIP holds."""


def keep_upload(name: str, chunks: Iterable[bytes], folder: Path, limits: LimitSettings) -> Path:
    """Write one uploaded file into a fresh folder, unpacking a ZIP; returns what `examine` should be given.

    Raises ServeError, naming the file, when it is too large, is neither image nor ZIP, or its content is
    unpacked larger than allowed, broken, encrypted or leads out of the folder; WriteError for a full disk.
    """
    safe = _plain_name(name)
    file = folder / safe
    try:
        first = _write(file, chunks, int(limits.upload_mb * 1e6), safe)
        if first.startswith(ZIP_START):
            target = folder / UNPACKED
            _unpack(file, target, limits)
            file.unlink()
            return target
    except OSError as error:
        raise WriteError(file, error.strerror or str(error), "a disk with enough space") from error
    if first[128:132] == DICOM_MARK and not safe.lower().endswith(SUFFIXES):
        file = file.rename(folder / f"{safe}.dcm")
    if not file.name.lower().endswith(SUFFIXES):
        raise ServeError(
            safe, "neither an image nor a ZIP", f"a ZIP of DICOM files, or {', '.join(SUFFIXES)}"
        )
    if not plausible(file.name, first):
        raise ServeError(safe, "another content than its name says", "a whole image file of that kind")
    return file


def _plain_name(name: str) -> str:
    """A sender's file name as it may stand on this disk; of a long one the end, where the suffix is."""
    safe = NAME.sub("_", Path(name).name)[-LONGEST_NAME:].lstrip(".-")
    return safe if safe not in ("", UNPACKED) else "upload"


def plausible(name: str, first: bytes) -> bool:
    """True when a file's first bytes are those of its kind; what follows may still be broken."""
    if first[128:HEAD] == DICOM_MARK:
        return True
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return suffix in SIGNATURES and first.startswith(SIGNATURES[suffix])


def _write(file: Path, chunks: Iterable[bytes], most: int, name: str) -> bytes:
    """Write chunks to a file; returns the first bytes."""
    size, first = 0, b""
    with file.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise ServeError(name, f"more than {most / 1e6:g} MB", f"at most {most / 1e6:g} MB")
            if len(first) < HEAD:
                first += chunk[: HEAD - len(first)]
            out.write(chunk)
    if size == 0:
        raise ServeError(name, "an empty file", "an image or a ZIP")
    return first


def _unpack(archive: Path, target: Path, limits: LimitSettings) -> None:
    """Unpack the files of a ZIP under numbered names: nothing of a sender's paths is used on this disk."""
    left = int(limits.unpacked_mb * 1e6)
    target.mkdir()
    number = 0
    try:
        with zipfile.ZipFile(archive) as content:
            members = [
                item for item in content.infolist() if not item.is_dir() and not _hidden(item.filename)
            ]
            if len(members) > limits.unpacked_files:
                found = f"{len(members)} files"
                raise ServeError(archive.name, found, f"at most {limits.unpacked_files}")
            for number, item in enumerate(members):
                with content.open(item) as source, (target / _numbered(number, item)).open("wb") as out:
                    left = _copy(source, out, left, archive.name)
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_THE_DISK:
            raise
        found = f"a ZIP that cannot be read ({error})"
        raise ServeError(archive.name, found, "a whole ZIP without a password") from None
    files = list(target.iterdir())
    if not files:
        raise ServeError(archive.name, "an empty ZIP", "a ZIP of DICOM files")
    if not any(plausible(file.name, _head(file)) for file in files):
        raise ServeError(archive.name, "no image in it", "a ZIP of DICOM files")


def _head(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(HEAD)


def _hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.startswith(".") or path.name == "DICOMDIR" or "__MACOSX" in path.parts


def _numbered(number: int, item: zipfile.ZipInfo) -> str:
    lower = item.filename.lower()
    suffix = next((s for s in SUFFIXES if lower.endswith(s)), ".dcm")
    return f"{number:06d}{suffix}"


def _copy(source: IO[bytes], out: IO[bytes], left: int, name: str) -> int:
    """Copy at most `left` bytes, whatever the ZIP's directory claims; returns what is left."""
    while chunk := source.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            raise ServeError(name, "more than unpacked_mb when unpacked", "a smaller ZIP")
        out.write(chunk)
    return left
