"""Writing files so that a reader never meets half of one: a temporary name first, then a rename."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.errors import WriteError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success rename it there, on failure remove it.

    Works for a file and for a folder (create whichever at the given path); the temporary name keeps all
    suffixes. An existing file is replaced by a file, an existing folder as a whole by a folder. Raises
    WriteError where one would replace the other, and for any OSError (full disk, no permission).
    """
    if not path.name:
        raise WriteError(path, "a folder that is in use", "the name of a file or folder to write")
    require_folder(path.parent)
    suffix = "".join(path.suffixes[-2:])
    temporary = path.with_name(f".{path.name.removesuffix(suffix)}.{uuid.uuid4().hex[:8]}.part{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_dir():
            if not temporary.is_dir():
                raise WriteError(path, "a folder", "the name of a file")
            shutil.rmtree(path)
        elif path.is_file() and temporary.is_dir():
            raise WriteError(path, "a file", "the name of a folder")
        temporary.replace(path)
    except OSError as error:
        raise WriteError(path, error.strerror or str(error), "a writable place with enough space") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def require_folder(path: Path) -> None:
    """Raise WriteError where a path cannot be a folder, because it or one above it is a file."""
    for one in (path, *path.parents):
        if one.is_dir():
            return
        if one.exists():
            raise WriteError(one, "a file", "a folder")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text through a temporary name."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (NaN and infinities become null) through a temporary name."""
    write_text(path, json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def jsonable(value: Any) -> Any:
    """The value in JSON's own types: numpy scalars and arrays, paths and tuples converted, NaN to None."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | type(None)) else str(value)


def digest_of(path: Path) -> bytes:
    """The SHA-256 digest of one file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def sha256_joined(digests: Iterable[bytes]) -> str:
    """One hash over several files, given their digests in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def sha256_of(paths: Iterable[Path]) -> str:
    """One hash over the content of several files, in the given order."""
    return sha256_joined(map(digest_of, paths))
