"""Memory of this process and machine: keeping what was freed, and how much may still be taken.

By default glibc gives memory back after every activation map. On Linux most of a CPU forward pass in torch is
spent on page faults of memory that was just returned to the system; holding on to it makes networks much
faster for somewhat more memory. What a prediction needs is estimated in `predict/`.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
MADV_DONTNEED = 4
UNLIMITED = 1 << 60
"""A cgroup (version 1) without a limit states a number beyond this."""


def keep_freed_memory() -> bool:
    """Tell the allocator never to trim and never to map; True where that took effect.

    It acts on what is allocated from then on. Without glibc it does nothing and returns False. Source:
    mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def let_go(file: Path) -> int:
    """Give back the memory in which this process has mapped `file` to read only; bytes that were mapped.

    What is read of it again comes from the file, so nothing is lost, but the pages of a file of weights that
    were copied elsewhere need not stay. Where mappings are not told (elsewhere than on Linux) it does
    nothing. Sources: proc_pid_maps(5), madvise(2).
    """
    if not sys.platform.startswith("linux"):
        return 0
    name, found = str(file.resolve()), 0
    with suppress(OSError, AttributeError, ValueError):
        advise = ctypes.CDLL("libc.so.6").madvise
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, rights, *_, path = line.split(maxsplit=5)
            # what may be written may hold what the file does not
            if path != name or "w" in rights:
                continue
            start, end = (int(number, 16) for number in place.split("-"))
            if advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED) == 0:
                found += end - start
    return found


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take without swapping, None where the system does not tell.

    The least of what the machine has available and what the process's control groups (cgroup 1 or 2) leave
    it, and what this process has freed but kept (`keep_freed_memory`). Files that the kernel merely caches
    count as free. `root` is where /proc and /sys are. Sources: proc_meminfo(5), mallinfo(3), the kernel's
    cgroup-v1/memory and cgroup-v2 documents.
    """
    free = _meminfo(root / "proc" / "meminfo")
    return None if free is None else min([free, *_cgroup_rooms(root)]) + _kept()


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = (("before", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


def _kept() -> int:
    """Bytes of freed memory that glibc still holds for this process; 0 without glibc 2.33."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        ask = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return 0
    ask.restype = _Mallinfo
    return int(ask().fordblks)


def _meminfo(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup_rooms(root: Path) -> list[int]:
    """What each memory control group above this process leaves; the innermost need not be the tightest."""
    rooms: list[int] = []
    with suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            base = root / "sys" / "fs" / "cgroup"
            if controllers == "":
                words = ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                base = base / "memory"
                words = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            parts = [part for part in name.split("/") if part]
            # inside a container the path may be that of the host, and the group's files lie at the top
            folders = [base.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
            rooms += [room for folder in folders if (room := _room(folder, words)) is not None]
    return rooms


def _room(folder: Path, words: tuple[str, str, str]) -> int | None:
    """Limit less use of one control group, None where it has no limit."""
    with suppress(OSError, ValueError):
        limit, used = (int((folder / word).read_text()) for word in words[:2])
        if limit >= UNLIMITED:
            return None
        stated = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stated.get(words[2], 0)))
    return None
