"""`lesionlab convert NAME SRC`: checked and counted first, and then planned with the data set's folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import Result

import dataset_phantoms
from lesionlab.core.recipe import dump_recipe, parse_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.evaluate.quality import training_lesions
from lesionlab.pipeline.quality import remember_training, training_of
from lesionlab.read import load_mask

Run = Callable[..., Result]


def recipe_file(path: Path, **more: object) -> Path:
    data = {
        "name": "us",
        "channels": {"us": {"normalisation": "fixed", "divide_by": 255.0}},
        "reference": "us",
        "standardise": {"size": [32, 32]},
        "network": {"configuration": "2d", "first_features": 4, "max_features": 8, "patch_size": [32, 32]},
    }
    path.write_text(dump_recipe(parse_recipe({**data, **more}, "us")))
    return path


def test_a_check_counts_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    root = dataset_phantoms.bus_bra(tmp_path / "src")
    result = run("convert", "bus-bra", root, "--check", "--classes")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "BUS-BRA: 12 cases of 6 patients",
        "labels: benign in 6, malignant in 6; lesion-free: 0",
        "diagnoses: benign 6, malignant 6",
        "official folds: 3 (BUS-BRA 5-fold-cv.csv), test cases: 0",
        "licence: free use with citation (LICENSE.txt that comes with it)",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]


def test_missing_files_stop_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    root = dataset_phantoms.bus_bra(tmp_path / "src")
    for side in "lr":
        (root / "Images" / f"bus_0001-{side}.png").unlink()
    out = tmp_path / "out"
    result = run("convert", "bus-bra", root, "-o", out)
    assert result.exit_code == 1
    assert "error: bus_0001-l: found no Images/bus_0001-l.png" in result.stderr
    assert "error: 2 faults: nothing written (--incomplete goes on without those cases)" in result.stderr
    assert not out.exists()
    result = run("convert", "bus-bra", root, "-o", out, "--incomplete", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["cases"], answer["patients"], len(answer["written"])) == (10, 5, 10)
    assert json.loads((out / "dataset.json").read_text())["left_out"] == answer["faults"]


def test_bad_masks_names_and_labels_are_one_line_each(run: Run, tmp_path: Path) -> None:
    root = dataset_phantoms.folder(tmp_path / "src")
    odd = dataset_phantoms.disc().astype(np.uint8) * 7
    dataset_phantoms.picture(root / "masks" / "c1.png", odd)
    (root / "masks" / "c2.png").write_bytes(b"no picture")
    result = run("convert", "folder", root, "--check")
    assert result.exit_code == 1
    assert "error: c1: found labels [7]; needed labels of {'benign': 1, 'malignant': 2}" in result.stderr
    assert "c2.png: found UnidentifiedImageError" in result.stderr
    unknown = run("convert", "nothing", root, "-o", tmp_path / "out")
    assert "nothing: found no data set of that name; needed one of breastdm, autopet, busi" in unknown.stderr
    assert run("convert", "folder", root).exit_code == 2
    assert run("convert", root).exit_code == 2
    (root / "images").rename(root / "pictures")
    (root / "images").mkdir()
    nothing = run("convert", "folder", root, "-o", tmp_path / "out", "--incomplete")
    assert "a folder of images and masks: found no case (" in nothing.stderr


def test_a_patient_on_both_sides_of_a_fold_is_refused(run: Run, tmp_path: Path) -> None:
    root = dataset_phantoms.folder(tmp_path / "src")
    table = (root / "cases.csv").read_text().replace("c1,p1,benign,a", "c1,p1,benign,b")
    (root / "cases.csv").write_text(table)
    result = run("convert", "folder", root, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "cases.csv, fold 0: found 1 patients on both sides (p1); needed one side each" in result.stderr
    (root / "cases.csv").write_text(table.replace("c1,p1,benign,b", "c1,p1,benign,test"))
    result = run("convert", "folder", root, "-o", tmp_path / "out")
    assert "test set: found 1 patients on both sides (p1)" in result.stderr


def test_a_converted_data_set_is_planned_with_its_own_folds(run: Run, tmp_path: Path) -> None:
    root, out = dataset_phantoms.bus_bra(tmp_path / "src"), tmp_path / "out"
    assert run("convert", "bus-bra", root, "-o", out).exit_code == 0
    kept = (out / "bus_0001-l" / "case.json").stat().st_mtime_ns
    assert run("convert", "bus-bra", root, "-o", out).exit_code == 0
    assert (out / "bus_0001-l" / "case.json").stat().st_mtime_ns == kept
    recipe = recipe_file(tmp_path / "us.toml")
    result = run("plan", out, "-r", recipe, "-w", tmp_path / "work", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [len(fold["val"]) for fold in answer["folds"]] == [4, 4, 4]
    assert answer["folds"][0]["val"] == ["bus_0001-l", "bus_0001-r", "bus_0004-l", "bus_0004-r"]
    assert answer["patients"]["bus_0001-l"] == "BUS-BRA-1"
    known = json.loads((tmp_path / "work" / "cases.json").read_text())
    assert known["spacing_unknown"] == list(known["patients"])
    two = recipe_file(tmp_path / "two.toml", training={"folds": 2})
    result = run("plan", out, "-r", two, "-w", tmp_path / "two")
    assert "in 3 folds (the data set's own, not the recipe's 2): " in result.stdout
    classes = tmp_path / "classes"
    assert run("convert", "bus-bra", root, "-o", classes, "--classes").exit_code == 0
    result = run("plan", classes, "-r", recipe, "-w", tmp_path / "other")
    assert result.exit_code == 1
    assert "found labels benign = 1, malignant = 2; needed those of recipe us: {'lesion': 1}" in result.stderr


def test_converted_anew_is_what_the_data_set_now_says(run: Run, tmp_path: Path) -> None:
    root, out = dataset_phantoms.folder(tmp_path / "src"), tmp_path / "out"
    table = (root / "cases.csv").read_text()
    (root / "cases.csv").rename(tmp_path / "cases.csv")
    assert run("convert", "folder", root, "-o", out).exit_code == 0
    patients = [json.loads((out / f"c{n}" / "case.json").read_text())["patient_id"] for n in range(4)]
    assert patients == ["c0", "c1", "c2", "c3"]
    (root / "cases.csv").write_text(table)
    assert run("convert", "folder", root, "-o", out).exit_code == 0
    told = [json.loads((out / f"c{n}" / "case.json").read_text()) for n in range(4)]
    assert [one["patient_id"] for one in told] == ["p1", "p1", "p2", "p3"]
    assert [one["diagnosis"] for one in told] == ["benign", "benign", "malignant", "malignant"]
    assert (out / "folds.json").is_file()
    other = dataset_phantoms.busi(tmp_path / "busi")
    assert run("convert", "busi", other, "-o", tmp_path / "both").exit_code == 0
    assert run("convert", "folder", root, "-o", tmp_path / "both").exit_code == 0
    assert (tmp_path / "both" / "benign-0001").is_dir() and (tmp_path / "both" / "c1").is_dir()
    for folder in ("images", "masks"):
        (root / folder / "c1.png").unlink()
    lines = [line for line in table.splitlines() if not line.startswith("c1")]
    (root / "cases.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    (out / "c1" / "notes.txt").write_text("mine")
    refused = run("convert", "folder", root, "-o", out)
    assert refused.exit_code == 1 and "found notes.txt in it; needed" in refused.stderr
    (out / "c1" / "notes.txt").unlink()
    assert run("convert", "folder", root, "-o", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["c0", "c2", "c3", "dataset.json"]


def test_another_voxel_size_is_converted_anew(run: Run, tmp_path: Path) -> None:
    root, out = dataset_phantoms.stacks(tmp_path / "src"), tmp_path / "out"
    for size in (0.1, 0.4):
        (root / "spacing.json").write_text(json.dumps({"spacing_mm": [0.5, size, size]}))
        assert run("convert", "stacks", root, "-o", out).exit_code == 0
        assert sitk.ReadImage(str(out / "S2" / "us.nii.gz")).GetSpacing() == pytest.approx((size, size, 0.5))


def test_patients_that_convert_noted_are_drawn_whole(run: Run, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    assert run("convert", "folder", dataset_phantoms.folder(tmp_path / "src"), "-o", cases).exit_code == 0
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in cases.glob("*/truth.nii.gz"):
            shutil.copy(file, tmp_path / name / f"{file.parent.name}.nii.gz")
    scored = json.loads(run("evaluate", tmp_path / "one", cases, "--json", "--label", "all").stdout)
    assert (scored["summary"]["cases"], scored["summary"]["intervals"]["patients"]) == (4, 3)
    run("evaluate", tmp_path / "one", cases, "-o", tmp_path / "scores", "--label", "all")
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["intervals"]["patients"] == 3
    words = "pixel spacing unknown in all 4 cases: 1 mm was assumed, so mm and ml mean pixels there"
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["spacing"] == words
    assert words in (tmp_path / "scores" / "evaluation.html").read_text()
    result = run("compare", tmp_path / "one", tmp_path / "two", "--truth", cases, "-o", tmp_path / "compared")
    assert "4 cases of 3 patients" in result.stdout
    assert words in result.stderr and words in (tmp_path / "compared" / "evaluation.html").read_text()
    table = tmp_path / "cases.csv"
    table.write_text("case,patient\nc0,a\nc1,a\nc2,a\nc3,b\n")
    told = run(
        "compare", tmp_path / "one", tmp_path / "two", "-t", cases, "-o", tmp_path / "told", "--cases", table
    )
    assert "4 cases of 2 patients" in told.stdout
    stacks = tmp_path / "stacks"
    assert run("convert", "stacks", dataset_phantoms.stacks(tmp_path / "s"), "-o", stacks).exit_code == 0
    answer = json.loads(run("observers", stacks, "-o", tmp_path / "readers", "--json").stdout)
    assert (answer["cases"], {pair["patients"] for pair in answer["pairs"]}) == (3, {2})


def test_a_bundle_remembers_the_truths_of_resized_pictures_as_they_were(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("convert", "bus-bra", dataset_phantoms.bus_bra(tmp_path / "src"), "-o", out).exit_code == 0
    assert run("plan", out, "-r", recipe_file(tmp_path / "us.toml"), "-w", tmp_path / "work").exit_code == 0
    remember_training(open_workspace(tmp_path / "work")[0], tmp_path / "bundle")
    found = training_of(tmp_path / "bundle")
    assert found is not None
    drawn = training_lesions(load_mask(file) for file in sorted(out.glob("*/truth.nii.gz")))
    np.testing.assert_allclose(found.volumes_ml, drawn.volumes_ml, rtol=0.05)
    np.testing.assert_allclose(found.positions, drawn.positions, atol=0.01)


def test_copies_stop_a_plan_until_told_how(run: Run, tmp_path: Path) -> None:
    root, out = dataset_phantoms.bus_bra(tmp_path / "src"), tmp_path / "out"
    image = (root / "Images" / "bus_0001-l.png").read_bytes()
    (root / "Images" / "bus_0003-r.png").write_bytes(image)
    assert run("convert", "bus-bra", root, "-o", out).exit_code == 0
    training = {"training": {"official_folds": False, "folds": 3}}
    recipe = recipe_file(tmp_path / "us.toml", **training)
    result = run("plan", out, "-r", recipe, "-w", tmp_path / "work")
    assert result.exit_code == 1
    assert "1 pair of cases that look the same: bus_0001-l = bus_0003-r (two patients)" in result.stderr
    result = run("plan", out, "-r", recipe, "-w", tmp_path / "work", "--duplicates", "drop")
    assert result.exit_code == 0, result.output
    assert "planned 11 cases of 6 patients in 3 folds" in result.stdout
    assert "bus_0001-l = bus_0003-r (two patients); left out: 1" in result.stdout
    assert run("plan", out, "-r", recipe, "-w", tmp_path / "w2", "--duplicates", "keep").exit_code == 1


def test_test_cases_are_left_alone_and_readers_are_planned_by_consensus(run: Run, tmp_path: Path) -> None:
    root = dataset_phantoms.folder(tmp_path / "src")
    (root / "labels.json").unlink()
    for reader, radius in (("anna", 6), ("bert", 9)):
        for number in range(4):
            mask = dataset_phantoms.disc(radius=radius).astype(np.uint8)
            dataset_phantoms.picture(root / "masks" / reader / f"c{number}.png", mask)
    out = tmp_path / "out"
    assert run("convert", "folder", root, "-o", out).exit_code == 0
    sizes = {}
    for rule in ("first", "union"):
        standardise = {"size": [40, 50], "truth": rule}
        recipe = recipe_file(
            tmp_path / f"{rule}.toml", standardise=standardise, network={"configuration": "2d"}
        )
        result = run("plan", out, "-r", recipe, "-w", tmp_path / rule, "--json")
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert sorted(answer["patients"]) == ["c0", "c1", "c2"] and len(answer["folds"]) == 2
        from lesionlab.read import load_mask

        (mask_file,) = (tmp_path / rule).rglob("labelsTr/c0.nii.gz")
        sizes[rule] = int(load_mask(mask_file).array.sum())
    assert sizes["union"] > sizes["first"] > 0
    result = run("observers", out, "-o", tmp_path / "readers", "--consensus", "staple")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "readers" / "observers.json").read_text())
    assert record["cases"] == 4 and {(p["first"], p["second"]) for p in record["pairs"]} == {("anna", "bert")}
    assert (tmp_path / "readers" / "consensus" / "c3.nii.gz").is_file()
    alone = run("observers", root, "-o", tmp_path / "none")
    assert "found 1 of them; needed two or more folders of masks, or one of cases" in alone.stderr
