"""Kinetics, ultrasound and resection margins from the command line, on files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

import phantoms
from lesionlab.cli import app
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline import maps_in
from lesionlab.report import save_volume

BALLS = (((30.0, 22.0, 20.0), 8.0, "washout"), ((14.0, 22.0, 20.0), 6.0, "plateau"))


def run(*words: object, code: int = 0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def dce(tmp_path: Path) -> Path:
    case, mask = phantoms.dce_case(BALLS)
    for name, volume in case.channels.items():
        save_volume(volume, tmp_path / "scan" / f"{name}.nii.gz")
    save_volume(mask, tmp_path / "lesions.nii.gz")
    return tmp_path


def test_kinetics_with_maps(dce: Path) -> None:
    mine = dce / "mine.toml"
    text = (Path(__file__).parents[2] / "recipes" / "dce-measure.toml").read_text(encoding="utf-8")
    mine.write_text(text.replace("early = 1", "early = 1\ntimes_s = [-30, 60, 180, 300]"))
    out = run(
        *("measure", dce / "scan", dce / "lesions.nii.gz", "-r", mine),
        *("-o", dce / "t.csv", "--maps", dce / "maps", "--json"),
    )
    record = json.loads(out.stdout)
    first = record["lesions"][0]
    assert first["PE_early"] == pytest.approx(150.0, rel=1e-5)
    assert first["curve_type"] == 3.0
    assert record["units"]["AUC"] == "%.s"
    assert record["totals"]["FTV"] == pytest.approx(sum(row["FTV"] for row in record["lesions"]))
    rows = list(csv.DictReader((dce / "t.csv").read_text().splitlines()))
    assert float(rows[1]["SER"]) == pytest.approx(1.0, rel=1e-5)
    names = {p.name.removesuffix(".nii.gz") for p in (dce / "maps").iterdir()}
    assert {
        "pe_post1",
        "pe_post3",
        "ser",
        "curve_type",
        "enhancing",
        "time_to_peak",
        "upslope",
        "auc",
    } <= names
    assert {file.name.removesuffix(".nii.gz") for file in maps_in(dce / "maps")} == names
    assert "earlier run" not in out.stderr
    (dce / "maps" / "drawn.nii.gz").touch()
    fewer = run(
        *("measure", dce / "scan", dce / "lesions.nii.gz", "-r", "dce-measure", "--maps", dce / "maps")
    )
    (line,) = (line for line in fewer.stderr.splitlines() if "earlier run" in line)
    stale = [dce / "maps" / f"{name}.nii.gz" for name in ("auc", "time_to_peak", "upslope")]
    assert line == f"note: of an earlier run, not written anew: {', '.join(map(str, stale))}"
    curve = sitk.GetArrayFromImage(sitk.ReadImage(str(dce / "maps" / "curve_type.nii.gz")))
    assert set(np.unique(curve)) == {0, 2, 3}


def test_kinetics_without_times_say_so(dce: Path) -> None:
    record = json.loads(
        run("measure", dce / "scan", dce / "lesions.nii.gz", "-r", "dce-measure", "--json").stdout
    )
    assert record["lesions"][0]["AUC"] is None
    assert any("phase times unknown" in n for n in record["notes"])


def test_a_scan_without_phases_is_refused(dce: Path) -> None:
    result = run("measure", dce / "scan" / "pre.nii.gz", dce / "lesions.nii.gz", "-r", "dce-measure", code=1)
    assert "found phases pre; needed pre, post1" in result.output


def test_an_ultrasound_picture(tmp_path: Path) -> None:
    grey = np.full((120, 160), 100, np.uint8)
    mask = np.zeros_like(grey)
    mask[40:80, 60:90] = 255
    grey[mask > 0] = 40
    Image.fromarray(grey).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ("measure", tmp_path / "image.png", tmp_path / "mask.png", "-r", "ultrasound-measure")
    record = json.loads(run(*words, "--json").stdout)
    lesion = record["lesions"][0]
    assert (lesion["area"], lesion["height"], lesion["volume"]) == (1200.0, 40.0, 1200.0)
    assert record["units"]["height"] == record["units"]["volume"] == "{pixels}"
    assert not any(unit in ("mm", "ml", "mm2") for unit in record["units"].values())
    told = run(*words, "-o", tmp_path / "sizes.csv")
    assert "taller_than_wide" in told.stdout
    assert "note: us: pixel spacing unknown: 1 mm assumed" in told.stderr
    with (tmp_path / "sizes_columns.csv").open(encoding="utf-8") as file:
        units = {row["name"]: row["unit"] for row in csv.DictReader(file)}
    assert units["height"] == "{pixels}" and list(lesion)[1:] == list(units)[2:]
    (tmp_path / "image.json").write_text('{"spacing_mm": [1.0, 0.1, 0.1]}')
    record = json.loads(run(*words, "--json").stdout)
    assert record["lesions"][0]["height"] == pytest.approx(4.0)
    assert record["units"]["height"] == "mm"


def test_a_network_for_pictures_counts_pixels_too(tmp_path: Path) -> None:
    """Without the ultrasound columns as well: nobody knows the ml of a picture without a pixel size."""
    drawn = np.zeros((60, 80), np.uint8)
    drawn[20:40, 30:60] = 255
    Image.fromarray(drawn // 2 + 20).save(tmp_path / "image.png")
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    words = ("measure", tmp_path / "image.png", tmp_path / "mask.png", "-r", "ultrasound-2d", "--json")
    record = json.loads(run(*words).stdout)
    assert record["lesions"][0]["volume"] == record["totals"]["volume"] == 600.0
    assert {record["units"][name] for name in ("volume", "diameter_3d", "Dmax")} == {"{pixels}"}


def test_a_liver_beside_lesions_in_pixels_leaves_them_in_pixels(tmp_path: Path) -> None:
    """Measured a second time, with the reference region: TLG is SUVmean times the number of pixels."""
    suv, mask = np.full((80, 80), 2.0, np.float32), np.zeros((80, 80), np.uint8)
    mask[4:12, 4:12] = 1
    suv[mask > 0] = 8.0
    for name, array in (("suv", suv), ("mask", mask)):
        Image.fromarray(array).save(tmp_path / f"{name}.tif")
    words = ("measure", tmp_path / "suv.tif", tmp_path / "mask.tif", "-r", "pet-threshold", "--json")
    for liver in ((), ("--liver", "50,50,0")):
        record = json.loads(run(*words, *liver).stdout)
        assert (record["totals"]["TMTV"], record["totals"]["TLG"]) == (64.0, 512.0)
        units = record["units"]
        assert (units["MTV"], units["TLG"], units["diameter_3d"]) == ("{pixels}", "g/ml.{pixels}", "{pixels}")


def test_pixels_and_millimetres_in_one_cohort_keep_their_units(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file, level in (("us.png", 90), ("mask.png", 255)):
            picture = np.zeros((60, 60), np.uint8)
            picture[20:30, 20:40] = level
            Image.fromarray(picture).save(tmp_path / name / file)
    (tmp_path / "b" / "us.json").write_text('{"spacing_mm": [1.0, 0.1, 0.1]}')
    (tmp_path / "cases.csv").write_text("image,mask\na/us.png,a/mask.png\nb/us.png,b/mask.png\n")
    told = run("measure", tmp_path / "cases.csv", "-r", "ultrasound-measure", "-o", tmp_path / "out").stdout
    with (tmp_path / "out" / "columns.csv").open(encoding="utf-8") as file:
        units = [row["unit"] for row in csv.DictReader(file) if row["name"] == "area"]
    assert sorted(units) == ["mm2", "{pixels}"]
    _, first, second = (re.split(r"  +", line) for line in told.splitlines()[:3])
    # case, lesions, then volume, max, Dmax and Dmax_edge in pixels, then volume, Dmax and Dmax_edge in mm
    assert first == ["a", "1", "200", "90", "-", "-", "-", "-", "-"]
    assert second == ["b", "1", "-", "90", "-", "-", "0.002", "-", "-"]


@pytest.fixture
def specimen(tmp_path: Path) -> Path:
    grid = Geometry((40, 40, 40), (1.0, 1.0, 1.0))
    for name, low, high in (("specimen", 4, 36), ("lesion", 14, 33)):
        mask = np.zeros(grid.shape, np.uint8)
        mask[low:high, low:high, low:high] = 1
        save_volume(Volume(mask, grid, "1"), tmp_path / f"{name}.nii.gz")
    save_volume(Volume(np.full(grid.shape, 50.0), grid, "{stored}"), tmp_path / "us.nii.gz")
    return tmp_path


def test_margins_of_a_specimen(specimen: Path) -> None:
    words = (
        *("measure", specimen / "us.nii.gz", specimen / "lesion.nii.gz", "-r", "ultrasound-measure"),
        *("--specimen", specimen / "specimen.nii.gz"),
    )
    record = json.loads(run(*words, "--maps", specimen / "maps", "--json").stdout)
    assert record["lesions"][0]["margin_left"] == pytest.approx(3.0, abs=0.05)
    assert record["lesions"][0]["margin_right"] == pytest.approx(10.0, abs=0.05)
    assert record["totals"]["margin"] == pytest.approx(3.0, abs=0.05)
    assert record["totals"]["close_area_2mm"] == 0.0
    assert "specimen as given in the file specimen.nii.gz" in record["notes"]
    assert (specimen / "maps" / "margin.nii.gz").is_file()
    assert "margin [mm]" in run(*words).output


def test_options_that_do_not_fit(specimen: Path) -> None:
    scan, mask = specimen / "us.nii.gz", specimen / "lesion.nii.gz"
    result = run("measure", scan, mask, "-r", "ultrasound-measure", "--maps", specimen / "maps", code=1)
    assert "found neither biomarkers.kinetics nor a specimen" in result.output
    assert not (specimen / "maps").exists()
    (specimen / "cases.csv").write_text("image,mask\nus.nii.gz,lesion.nii.gz\n")
    result = run("measure", specimen / "cases.csv", "-o", specimen / "out", "--maps", specimen / "m", code=2)
    assert "belong to a single scan" in result.output


def test_a_recipe_that_only_measures_finds_nothing(specimen: Path) -> None:
    result = run("examine", specimen / "us.nii.gz", "-m", "ultrasound-measure", "-o", specimen / "o", code=1)
    assert "only measures (method 'none'); needed a mask: lesionlab measure" in result.output
