"""Studies on disk: whole files only, and no way out of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lesionlab.core.errors import ServeError, WriteError
from lesionlab.serve import store as store_module
from lesionlab.serve.store import SENDER, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def test_instances_are_kept_once(store: Store) -> None:
    assert store.put_instance("1.2.3", "1.2.3.1", b"one")
    assert not store.put_instance("1.2.3", "1.2.3.1", bytearray(b"one"))
    assert store.put_instance("1.2.3", "1.2.3.2", b"two")
    study = store.study("1.2.3")
    assert study is not None
    assert [file.name for file in study.files] == ["1.2.3.1.dcm", "1.2.3.2.dcm"]
    assert study.files[0].read_bytes() == b"one"
    assert store.study("9.9") is None


def test_another_content_replaces_the_first_and_is_news(store: Store) -> None:
    store.put_instance("1.2.3", "1.2.3.1", b"cut short")
    first = store.study("1.2.3")
    assert store.put_instance("1.2.3", "1.2.3.1", memoryview(b"whole"))
    second = store.study("1.2.3")
    assert first is not None and second is not None
    assert [file.read_bytes() for file in second.files] == [b"whole"]
    assert first.digest != second.digest
    assert not store.put_instance("1.2.3", "1.2.3.1", b"whole")
    assert store.study("1.2.3") == second
    assert not store.discard_study(first), "what was replaced meanwhile is not deleted with the first"
    assert store.study("1.2.3").digest == second.digest


def test_what_is_put_back_replaces_nothing_that_came_since(store: Store) -> None:
    store.put_instance("1.2", "1.2.1", b"first")
    first = store.study("1.2")
    store.put_instance("1.2", "1.2.2", b"just now")
    assert first is not None
    # a kill between the two steps of deleting it
    first.folder.rename(store.trash / f"1.2~{first.digest}")
    store.put_instance("1.2", "1.2.1", b"put right")
    store.sweep()
    study = store.study("1.2")
    assert study is not None
    assert [file.read_bytes() for file in study.files] == [b"put right", b"just now"]
    assert list(store.trash.iterdir()) == []


def test_what_a_full_disk_keeps_from_being_replaced_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_instance("1.2", "1.2.1", b"first")
    before = store.study("1.2")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match="No space left on device"):
            store.put_instance("1.2", "1.2.1", b"second")
    after = store.study("1.2")
    assert before is not None and after is not None
    assert (after.digest, after.files[0].read_bytes()) == (before.digest, b"first")


def test_our_own_results_coming_back_are_no_news(store: Store) -> None:
    store.put_instance("1.2.3", "1.2.3.1", b"scan")
    store.mark_own("1.2.3.9")
    before = store.study("1.2.3")
    assert not store.put_instance("1.2.3", "1.2.3.9", b"our segmentation")
    assert store.study("1.2.3") == before


def test_the_digest_tells_which_instances_there_are(store: Store) -> None:
    for study, order in (("1.1", "12"), ("1.2", "21"), ("1.3", "13")):
        for number in order:
            store.put_instance(study, f"7.{number}", b"x")
    digests = {study.study_uid: study.digest for study in store.all_studies()}
    assert digests["1.1"] == digests["1.2"] != digests["1.3"]


@pytest.mark.parametrize("uid", ["../../etc", "1.2/..", "", "1..2", "1" * 65, "1.2\n", ".1", "a"])
def test_what_is_no_uid_names_no_file(store: Store, uid: str) -> None:
    with pytest.raises(ServeError, match="digits and dots"):
        store.put_instance(uid, "1.2", b"")
    with pytest.raises(ServeError, match="digits and dots"):
        store.put_instance("1.2", uid, b"")
    assert list(store.all_studies()) == []


def test_results_are_reached_only_within_their_folder(store: Store, tmp_path: Path) -> None:
    folder = store.result_folder("job1")
    folder.mkdir()
    (folder / "report.html").write_text("yes")
    (tmp_path / "data" / "secret").write_text("no")
    (folder / "link").symlink_to(tmp_path / "data" / "secret")
    assert store.result_file("job1", "report.html").read_text() == "yes"
    for name in ("../../secret", "/etc/passwd", "link", "missing", ""):
        with pytest.raises(ServeError, match="no result"):
            store.result_file("job1", name)
    with pytest.raises(ServeError, match="letters, digits"):
        store.result_folder("../job1")


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_no_half_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        store.put_instance("1.2", "1.2.1", b"x")
    assert list(store.study_folder("1.2").iterdir()) == []
    assert store.study("1.2") is None


def test_what_a_kill_left_is_swept(store: Store) -> None:
    store.put_instance("1.2", "1.2.1", b"x")
    (store.study_folder("1.2") / ".abc.part").write_bytes(b"half")
    (store.results / ".job.abc.part").mkdir()
    (store.trash / "old").mkdir()
    store.sweep()
    assert {file.name for file in store.study_folder("1.2").iterdir()} == {SENDER, "1.2.1.dcm"}
    assert list(store.results.iterdir()) == []
    assert list(store.trash.iterdir()) == []


def test_a_kill_between_setting_aside_and_deleting_loses_no_late_instance(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid in ("1.2", "1.3"):
        store.put_instance(uid, "1.2.1", b"x", sender="PET1")
    studies = [store.study(uid) for uid in ("1.2", "1.3")]
    store.put_instance("1.2", "1.2.2", b"late")

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(Store, "_brought_back", killed)
        for study in studies:
            with pytest.raises(KeyboardInterrupt):
                store.discard_study(study)
    assert list(store.all_studies()) == []
    again = Store(store.root)
    again.sweep()
    [kept] = again.all_studies()
    assert [file.name for file in kept.files] == ["1.2.1.dcm", "1.2.2.dcm"]
    assert kept.sender == "PET1"
    assert list(store.trash.iterdir()) == []


def test_a_folder_is_known_by_the_same_name_wherever_it_lies(store: Store, tmp_path: Path) -> None:
    name = store.identity
    assert len(name) == 32
    moved = store.root.rename(tmp_path / "moved")
    assert Store(moved).identity == name
    assert Store(tmp_path / "other").identity != name


def test_only_its_own_folders_are_discarded(store: Store, tmp_path: Path) -> None:
    name, folder = store.new_upload()
    (folder / "scan.nii").write_bytes(b"x")
    store.discard(folder)
    assert not folder.exists()
    assert name
    for foreign in (tmp_path, store.root):
        with pytest.raises(ServeError, match="outside the store"):
            store.discard(foreign)
    assert store.root.is_dir()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServeError, match="a folder that can be written"):
        Store(tmp_path / "file")


def test_a_disk_that_refuses_an_upload(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(WriteError, match="No space left"):
        store.new_upload()


def test_a_sender_is_known_though_the_disk_was_full_when_it_began(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(WriteError):
        broken.setattr(os, "fsync", full)
        store.put_instance("1.2", "1.2.1", b"x", sender="SCANNER")
    # a kill between the folder and the file leaves the folder alone
    store.study_folder("1.3").mkdir()
    for uid in ("1.2", "1.3"):
        store.put_instance(uid, f"{uid}.1", b"x", sender="SCANNER")
        study = store.study(uid)
        assert study is not None
        assert study.sender == "SCANNER"


def test_an_instance_that_comes_twice_is_on_disk_both_times(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(store_module, "sync", synced.append)
    assert store.put_instance("1.2", "1.2.1", b"x")
    synced.clear()
    assert not store.put_instance("1.2", "1.2.1", b"x")
    assert synced == [store.study_folder("1.2")]

    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store_module, "sync", broken)
    with pytest.raises(WriteError, match="Input/output error"):
        store.put_instance("1.2", "1.2.1", b"x")
