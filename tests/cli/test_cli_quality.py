"""`lesionlab quality`: flags of masks on file, by case, with what the bundle keeps of its training set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import phantoms
from lesionlab.core.errors import DatasetError, ReadError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.quality import training_lesions
from lesionlab.pipeline.quality import TRAINING_FILE, training_of
from lesionlab.report import save_volume

GRID = Geometry((16, 24, 24), (4.0, 4.0, 4.0))


def ball(x: float = 46.0, radius: float = 12.0) -> Volume:
    return Volume(phantoms.ball_mask(GRID, (x, 46.0, 30.0), radius).astype(np.uint8), GRID, "1")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Masks of three cases, and what two folds drew of them: of `odd` they disagree, `none` is empty."""
    nothing = ball().with_array(np.zeros(GRID.shape, np.uint8))
    for folder, odd in (("masks", 46.0), ("fold0", 46.0), ("fold1", 62.0)):
        save_volume(ball(), tmp_path / folder / "good.nii.gz")
        save_volume(ball(odd), tmp_path / folder / "odd.nii.gz")
        save_volume(nothing, tmp_path / folder / "none.nii.gz")
    return tmp_path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with what a bundle keeps of twelve training cases like `good`."""
    random = np.random.default_rng(0)
    truths = [ball(46.0 + random.normal(0.0, 3.0), random.uniform(10.0, 14.0)) for _ in range(12)]
    (tmp_path / "bundle").mkdir()
    text = json.dumps(training_lesions(truths).record())
    (tmp_path / "bundle" / TRAINING_FILE).write_text(text, encoding="utf-8")
    return tmp_path / "bundle"


def test_flags_by_case_the_worst_first(run, drawn, bundle, tmp_path):
    members = ("--member", drawn / "fold0", "--member", drawn / "fold1")
    result = run("quality", drawn / "masks", *members, "-m", bundle, "-o", tmp_path / "quality.csv")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    order = [
        line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in ("good", "odd", "none")
    ]
    assert order == ["odd", "none", "good"]
    assert "2 of 3 with a flag" in result.stdout
    with (tmp_path / "quality.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["case_id"], row["flag"]): row for row in csv.DictReader(file)}
    assert len(rows) == 3 * 7
    assert rows["odd", "disagreement"]["raised"] == "1"
    assert rows["good", "score"]["raised"] == "0"
    assert rows["none", "empty"]["sentence"] == "nothing was found; 12 of 12 training cases had a lesion"
    assert rows["good", "doubt"]["value"] == ""
    assert rows["good", "doubt"]["sentence"] == "not known: needs a probability map"


def test_one_mask_with_its_probability_as_json(run, drawn, tmp_path):
    unsure = ball().with_array((0.6 * ball().array).astype(np.float32))
    save_volume(unsure, tmp_path / "p" / "chance.nii.gz")
    chance = tmp_path / "p" / "chance.nii.gz"
    result = run("quality", drawn / "masks" / "good.nii.gz", "--probabilities", chance, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["good"]
    doubt = next(flag for flag in found["flags"] if flag["name"] == "doubt")
    assert doubt["value"] == pytest.approx(1.0 - 2 * 0.6 / 1.6, abs=1e-4)
    assert found["raised"] == ["doubt"]


def test_what_is_no_probability_map_is_refused(run, drawn, tmp_path):
    grey = save_volume(ball().with_array((3.0 * ball().array).astype(np.float32)), tmp_path / "grey.nii.gz")
    result = run("quality", drawn / "masks" / "good.nii.gz", "--probabilities", grey)
    assert result.exit_code == 1
    assert f"{grey}: found values from 0 to 3; needed a probability map" in result.stderr


def test_a_mask_that_cannot_be_read_is_listed(run, drawn):
    (drawn / "masks" / "torn.nii.gz").write_bytes(b"no image")
    result = run("quality", drawn / "masks")
    assert result.exit_code == 1
    assert "1 of 3 with a flag" in result.stdout
    assert "torn" in result.output


def test_a_bundle_that_is_not_there_is_told(run, drawn, tmp_path):
    result = run("quality", drawn / "masks", "--model", tmp_path / "gone")
    assert result.exit_code == 1
    assert (
        f"{tmp_path / 'gone'}: found no such folder; needed the bundle that drew the masks" in result.stderr
    )


def test_what_a_bundle_keeps_may_be_unreadable(bundle, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "a/long/path")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ReadError, match=r"training_lesions.json: found Permission denied; needed the JSON"):
        training_of(bundle)


def test_what_a_bundle_keeps_must_be_whole(bundle, tmp_path):
    assert training_of(tmp_path) is None
    assert training_of(bundle) is not None
    (bundle / TRAINING_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match="needed the JSON that `train` wrote"):
        training_of(bundle)
    (bundle / TRAINING_FILE).write_text("[]", encoding="utf-8")
    with pytest.raises(DatasetError, match="no such record"):
        training_of(bundle)
