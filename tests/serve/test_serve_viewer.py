"""What the viewer is given: channels on the reference grid, rounded finely; a point inside each lesion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lesionlab.core.errors import WriteError
from lesionlab.core.recipe import BiomarkerSettings
from lesionlab.core.results import Column, Findings, LesionTable, Prediction, Provenance
from lesionlab.core.units import HOUNSFIELD, ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.serve.viewer import table_record, write_viewer
from phantoms import pet_case

GRID = Geometry((8, 10, 12), (3.0, 2.0, 2.5), (10.0, -20.0, 30.0))


def findings(mask: np.ndarray, suv: np.ndarray, **channels: Volume) -> Findings:
    case = pet_case(suv, GRID, **channels)
    drawn = Volume(mask.astype(np.uint8), GRID, ONE)
    table = measure(case, drawn, BiomarkerSettings())
    return Findings(case, Prediction(drawn), table, Provenance({}, "", "", "", "", {}, {}, "cpu", ""))


def read(folder: Path) -> dict:
    return json.loads((folder / "viewer" / "lesions.json").read_text(encoding="utf-8"))


def test_a_bent_lesion_is_gone_to_at_a_voxel_of_its_own(tmp_path: Path) -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[4, 2:9, 2:9] = True
    mask[4, 3:8, 3:8] = False  # a frame: its centroid lies outside
    suv = np.where(mask, 5.0, 1.0)
    write_viewer(findings(mask, suv), tmp_path)
    [lesion] = read(tmp_path)["lesions"]
    index = np.rint(GRID.to_index(lesion["at_lps_mm"])).astype(int)
    assert mask[tuple(index)]
    assert (
        dict(zip([c["name"] for c in read(tmp_path)["columns"]], lesion["cells"], strict=True))["SUVmax"]
        == "5.00"
    )


def test_channels_lie_on_the_reference_grid_and_are_rounded_finely(tmp_path: Path) -> None:
    suv = np.random.default_rng(1).gamma(2.0, 3.0, GRID.shape).astype(np.float32)
    suv[0, 0, 0] = np.nan
    finer = Geometry((16, 20, 24), (1.5, 1.0, 1.25), GRID.origin)
    ct = Volume(np.full(finer.shape, 40.4), finer, HOUNSFIELD)
    write_viewer(findings(np.zeros(GRID.shape), suv, ct=ct), tmp_path)
    images = {name: sitk.ReadImage(str(tmp_path / "viewer" / f"{name}.nii.gz")) for name in ("suv", "ct")}
    assert images["suv"].GetSize() == images["ct"].GetSize() == (12, 10, 8)
    assert np.unique(sitk.GetArrayFromImage(images["ct"])).tolist() == [40]
    shown = sitk.GetArrayFromImage(images["suv"])
    assert shown[0, 0, 0] == 0
    assert np.nanmax(np.abs(shown / suv - 1)) < 1 / 4000
    record = read(tmp_path)
    assert tuple(record["channels"][0][key] for key in ("name", "kind", "low", "high")) == (
        "suv",
        "pet",
        0,
        10,
    )
    assert record["lesions"] == []


def test_a_long_series_gives_its_reference_and_the_first_others(tmp_path: Path) -> None:
    suv = np.ones(GRID.shape, np.float32)
    others = {f"c{number}": Volume(suv, GRID, SUVBW) for number in range(9)}
    write_viewer(findings(np.zeros(GRID.shape), suv, **others), tmp_path)
    names = [channel["name"] for channel in read(tmp_path)["channels"]]
    assert (names[0], len(names)) == ("suv", 8)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(sitk, "WriteImage", refuse)
    with pytest.raises(WriteError, match="no space left"):
        write_viewer(findings(np.zeros(GRID.shape), np.ones(GRID.shape, np.float32)), tmp_path)


def test_a_value_that_a_lesion_has_not_is_a_dash(tmp_path: Path) -> None:
    labels = Volume(np.ones((1, 1, 1), np.int32), Geometry((1, 1, 1), (1.0, 1.0, 1.0)), ONE)
    columns = (Column("SUVmax", "g/ml", ""), Column("MTV", "ml", ""))
    record = table_record(LesionTable(columns, ({"SUVmax": 2.0},), (), {}, labels))
    assert record["lesions"][0]["cells"][1] == "–"
