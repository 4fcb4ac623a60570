"""Writing: never half a file, also when the disk is full; JSON that any program reads."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.errors import WriteError
from lesionlab.core.files import jsonable, sha256_of, write_json, write_text, writing


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "mask.nii.gz"
    with writing(target) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    write_text(target, "newer")
    assert target.read_text() == "newer"
    assert [p.name for p in target.parent.iterdir()] == ["mask.nii.gz"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "stale").write_text("old")
    with writing(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").write_text("new")
    assert [p.name for p in target.iterdir()] == ["fresh"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "lesions.csv"
    target.write_text("old")
    with (
        pytest.raises(WriteError, match=r"lesions\.csv: found No space left.*needed a writable place"),
        writing(target) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["lesions.csv"]


def test_a_full_disk_while_writing_a_folder_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(WriteError), writing(target) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.name for p in target.iterdir()] == ["kept"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device_is_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No space left on device"), writing(tmp_path / "out.txt"):
        Path("/dev/full").write_text("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_passes_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), writing(tmp_path / "out.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file: found a file; needed a folder"):
        write_text(tmp_path / "file" / "inside.txt", "x")


def test_json_is_strict(tmp_path: Path) -> None:
    value = {
        "nan": float("nan"),
        "inf": np.float32("inf"),
        "n": np.int64(3),
        "array": np.arange(4).reshape(2, 2),
        "path": Path("a/b"),
        "flag": np.bool_(True),
        "nothing": None,
        1: (2, {3}),
    }
    write_json(tmp_path / "a.json", value)

    def refuse(text: str) -> float:
        raise ValueError(text)

    back = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert back == {
        "nan": None,
        "inf": None,
        "n": 3,
        "array": [[0, 1], [2, 3]],
        "path": "a/b",
        "flag": True,
        "nothing": None,
        "1": [2, [3]],
    }
    assert jsonable(2.5) == 2.5


def test_hash_depends_on_content_and_order_only(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / name).write_text(text)
    a, b, c = (tmp_path / name for name in "abc")
    assert sha256_of([a, b]) == sha256_of([c, b])
    assert sha256_of([a, b]) != sha256_of([b, a])
    assert len(sha256_of([])) == 64


def test_a_file_never_replaces_a_folder_nor_a_folder_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "report.html").write_text("precious")
    with pytest.raises(WriteError, match=r"results: found a folder; needed the name of a file"):
        write_text(tmp_path / "results", "a table")
    (tmp_path / "file").write_text("precious")
    with (
        pytest.raises(WriteError, match=r"file: found a file; needed the name of a folder"),
        writing(tmp_path / "file") as temporary,
    ):
        temporary.mkdir()
    with pytest.raises(WriteError, match=r"file: found a file; needed a folder"):
        write_text(tmp_path / "file" / "sub" / "table.csv", "a table")
    with pytest.raises(WriteError, match="needed the name of a file or folder"):
        write_text(Path(), "a table")
    assert (tmp_path / "results" / "report.html").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results"]
