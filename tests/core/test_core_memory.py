"""How much memory is left, on faked machines and inside faked control groups."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from lesionlab.core.memory import available_memory, keep_freed_memory, let_go

GB = 1 << 30


def machine(root: Path, free_gb: int, cgroup: str, groups: dict[str, tuple[str, int, int]]) -> Path:
    """A root with /proc and /sys: each group has a limit as written, bytes used, and cached file bytes."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {free_gb * GB // 1024} kB\n")
    (root / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, (limit, used, cached) in groups.items():
        folder = root / "sys" / "fs" / "cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        first = name.startswith("memory")
        words = ("limit_in_bytes", "usage_in_bytes") if first else ("max", "current")
        for word, value in zip(words, (limit, used), strict=True):
            (folder / f"memory.{word}").write_text(f"{value}\n")
        (folder / "memory.stat").write_text(f"{'total_' if first else ''}inactive_file {cached}\nanon 1\n")
    return root


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path, 7, "", {})) == 7 * GB


def test_the_tightest_group_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    groups = {"a": (str(6 * GB), 4 * GB, GB), "a/b": ("max", GB, 0)}
    assert available_memory(machine(tmp_path, 7, "0::/a/b\n", groups)) == 3 * GB


def test_version_1_with_and_without_a_limit(tmp_path: Path) -> None:
    cgroup = "5:cpu,cpuacct:/x\n4:memory:/host/path\n"
    groups = {"memory": (str(2 * GB), GB, 0)}
    assert available_memory(machine(tmp_path / "a", 7, cgroup, groups)) == GB
    groups = {"memory": (str((1 << 63) - 4096), GB, 0)}
    assert available_memory(machine(tmp_path / "b", 7, cgroup, groups)) == 7 * GB


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path, 7, "0::/a\n", {"a": (str(GB), 2 * GB, 0)})) == 0


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lesionlab.core.memory._kept", lambda: 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells, others do not")
def test_this_machine_tells() -> None:
    found = available_memory()
    assert found is not None and 1 << 20 < found < 1 << 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
def test_what_was_freed_and_kept_counts_as_free() -> None:
    code = """
import numpy as np
from lesionlab.core.memory import _kept, keep_freed_memory
keep_freed_memory()
before = _kept()
array = np.ones(1 << 27, dtype=np.uint8)
del array
print(_kept() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 * 2**27 < int(done.stdout) < 1.1 * 2**27


def test_freed_memory_is_kept_only_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mappings are told by Linux only")
def test_a_mapped_file_is_let_go_and_still_there(tmp_path: Path) -> None:
    file = tmp_path / "weights of a fold.bin"
    file.write_bytes(bytes(range(256)) * 4096)

    def held() -> int:
        """kB of the file in this process's memory."""
        lines = Path("/proc/self/smaps").read_text().splitlines()
        start = next(number for number, line in enumerate(lines) if line.endswith(str(file)))
        return next(int(line.split()[1]) for line in lines[start:] if line.startswith("Rss:"))

    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:].count(7) == 4096 and held() == 1024
        assert let_go(file) == 1 << 20 and held() == 0
        assert mapped[1 << 19 : (1 << 19) + 3] == b"\x00\x01\x02"
    assert let_go(file) == 0
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY) as own:
        own[3] = 99
        # what was written to may be nowhere else
        assert let_go(file) == 0 and own[3] == 99


def test_elsewhere_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert let_go(tmp_path / "file") == 0
