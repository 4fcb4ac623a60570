"""CLAIM and CLEAR: every item there, filled where the run knows, open elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.predict import bundle as bundles
from lesionlab.report.checklist_items import CLAIM_ITEMS, CLEAR_ITEMS
from lesionlab.report.checklist_runs import FOREIGN
from lesionlab.report.checklists import Study, claim, clear, clear_wanted, write_checklists
from lesionlab.report.ibsi_checklist import Answer

METRICS = {
    "dice": {"mean": 0.8, "mean_low": 0.75, "mean_high": 0.84, "n": 7},
    "iou": {"mean": None, "n": 0},
    "lesion_sensitivity": {"mean": 0.9, "mean_low": None, "mean_high": None, "n": 7},
}
SUMMARY = {
    "cases": 7,
    "failed": {"x": "gone"},
    "missing_predictions": 2,
    "metrics": METRICS,
    "intervals": {"method": "bca", "resamples": 10000, "confidence": 0.95, "unit": "patient"},
}
PATIENTS = {f"case{k}": f"patient{k // 2}" for k in range(8)}


def network_recipe(**changes: Any) -> Recipe:
    channels = {"suv": {"normalisation": "fixed", "clip": [0, 30], "divide_by": 5}}
    plain = {"name": "mine", "channels": channels, "reference": "suv"}
    return parse_recipe({**plain, **changes}, "mine")


def run_of(recipe: Recipe, **changes: Any) -> dict[str, Any]:
    record = {
        "versions": {"lesionlab": "0.1.0", "torch": "2.13.0"},
        "recipe_name": recipe.name,
        "recipe_sha256": recipe.sha256,
        "bundle": recipe.name,
        "bundle_sha256": "ab" * 32,
        "settings": recipe.model_dump(mode="json"),
        "channels": {"suv": {"unit": "g/ml{SUVbw}"}},
        "notes": {"prediction": ["predicted on cpu with 5 fold(s)"]},
        "columns": [{"name": "SUVmax"}, {"name": "stat_mean"}, {"name": "morph_volume"}],
    }
    return {**record, **changes}


def by_number(answers: tuple[Answer, ...]) -> dict[str, Answer]:
    return {answer.number: answer for answer in answers}


@pytest.mark.parametrize(("items", "count"), [(CLAIM_ITEMS, 44), (CLEAR_ITEMS, 58)])
def test_items_are_numbered_and_say_what_to_add(items: tuple, count: int) -> None:
    assert [item.number for item in items] == [str(number) for number in range(1, count + 1)]
    assert all(item.topic and item.add and item.section for item in items)


def test_a_data_sets_own_folds_are_named_and_counted() -> None:
    found = by_number(claim(Study([run_of(network_recipe())], SUMMARY, PATIENTS, ("BUS-BRA", 3))))
    assert "in 3 folds, the data set's own (BUS-BRA)" in found["19"].answer


def test_without_knowledge_everything_is_open() -> None:
    for answers in (claim(Study()), clear(Study())):
        assert {answer.state for answer in answers} == {"open"}
        assert all(answer.answer.startswith("to add: ") for answer in answers)


def test_a_cross_validation_fills_what_the_program_decided() -> None:
    found = by_number(claim(Study([run_of(network_recipe())], SUMMARY, PATIENTS)))
    filled = {number for number, answer in found.items() if answer.state == "filled"}
    assert filled == {str(number) for number in (9, 19, 20, *range(22, 30), 32, 37, 38)}
    assert "clipped to 0 to 30, divided by 5" in found["9"].answer
    assert found["19"].answer.startswith("8 cases of 4 patients in 5 folds")
    assert found["23"].answer == "lesionlab 0.1.0, torch 2.13.0"
    assert found["27"].answer == "softmax of 5 folds averaged; predictions of mirrored inputs averaged"
    assert found["29"].answer.startswith("95% bootstrap intervals of means (bca, 10000 resamples")
    assert found["37"].answer == "dice mean 0.800 (0.750 to 0.840), 7 cases; iou undefined in all cases"
    assert found["38"].answer == "lesion_sensitivity mean 0.900, 7 cases"
    assert found["35"].answer.startswith("7 cases scored, 1 could not be; to add: ")
    assert found["12"].answer.startswith("2 cases without a prediction")
    assert found["33"].answer == "to add: how it was tested on data of another source"


def test_training_settings_are_told_as_they_are() -> None:
    averaged = network_recipe(training={"weight_averaging": 0.99, "stop_after": 40, "learning_rate": 0.03})
    found = by_number(claim(Study([run_of(averaged)])))
    assert "stopped after 40 without improvement" in found["25"].answer
    assert "learning rate 0.03" in found["25"].answer
    assert (
        "stochastic gradient descent, learning rate 0.03 with polynomial decay, Nesterov"
        in found["25"].answer
    )
    assert found["25"].answer.endswith("nnU-Net's augmentation; loss 1 dice + 1 cross entropy")
    assert found["26"].answer.startswith("moving average of the weights (decay 0.99 per step)")
    assert found["19"].state == "open"
    assert found["32"].state == "open"


def test_other_optimisers_and_losses_are_told_as_they_are() -> None:
    recipe = network_recipe(
        training={"optimiser": "adam", "schedule": "cosine_restarts", "warm_up_epochs": 2},
        loss={"dice": 0.6, "cross_entropy": 0, "focal_tversky": 0.4},
    )
    answer = by_number(claim(Study([run_of(recipe)])))["25"].answer
    assert "Adam, learning rate 0.01 with cosine decay with warm restarts after 2 epochs" in answer
    assert "first beta 0.9," in answer
    assert answer.endswith("loss 0.6 dice + 0.4 focal tversky")


def test_first_weights_and_growing_patches_are_told_as_they_are() -> None:
    changed = {"start_from": "/of/mine/photographs.pth", "progressive": [0.5, 1.0]}
    found = by_number(claim(Study([run_of(network_recipe(training=changed))])))
    assert found["24"].answer.startswith("those of photographs.pth, what it does not hold random, seed")
    assert (
        "33% of patches on lesions, with edges of 50%, 100% of the full patch in turn;" in found["25"].answer
    )
    found = by_number(claim(Study([run_of(network_recipe())])))
    assert found["24"].answer.startswith("random, nnU-Net's scheme, seed")


def test_of_a_foreign_model_training_stays_open() -> None:
    assert FOREIGN in Path(bundles.__file__).read_text(encoding="utf-8")
    found = by_number(claim(Study([run_of(network_recipe(description=FOREIGN))])))
    assert found["22"].state == "filled"
    assert {found[number].state for number in ("24", "25", "26")} == {"open"}


def test_thresholds_have_no_training_and_drawn_masks_no_model() -> None:
    found = by_number(claim(Study([run_of(find_recipe("pet-threshold"))])))
    assert found["22"].answer == "automatic: threshold of SUVbw 4"
    assert {found[number].state for number in ("24", "25", "26", "27")} == {"not applicable"}
    drawn = run_of(find_recipe("pet-threshold"), notes={"prediction": ["mask as given in the file a.nii.gz"]})
    found = by_number(claim(Study([drawn])))
    assert found["22"].answer == "the masks were given as files; to add: inputs, outputs, layers"
    assert found["25"].state == "open"


def test_runs_that_differ_are_told_apart_and_a_silent_run_opens_the_item() -> None:
    runs = [run_of(network_recipe(), bundle=name) for name in ("fold 0", "fold 0", "fold 1")]
    found = by_number(claim(Study(runs)))
    assert found["22"].state == "filled"
    assert found["22"].answer.startswith("differs between cases: automatic")
    assert "(2 of 3 cases)" in found["22"].answer
    silent = by_number(claim(Study([*runs, {"settings": {"unknown": 1}}])))
    assert silent["23"].state == "open"
    assert "(3 of 4 cases)" in silent["23"].answer


def test_clear_after_radiomics_alone(tmp_path: Path) -> None:
    recipe = network_recipe(
        radiomics={"families": ["statistics", "morphology"], "bin_size": 0.25, "spacing_mm": [3, 3, 0]}
    )
    study = Study([run_of(recipe)], SUMMARY, PATIENTS)
    assert clear_wanted(study)
    assert not clear_wanted(Study([run_of(network_recipe()), {}]))
    found = by_number(clear(study))
    filled = {number for number, answer in found.items() if answer.state == "filled"}
    assert filled == {str(number) for number in (19, *range(21, 29))}
    assert found["20"].state == "not applicable"
    assert found["22"].answer == "to 3 x 3 x as it is mm (z, y, x), image linear, mask linear"
    assert found["23"].answer == "fixed bin size of 0.25 in the image's unit"
    assert found["27"].answer == "2 per lesion"
    assert found["15"].answer.startswith("of the segmentation model: 8 cases of 4 patients")
    assert [path.name for path in write_checklists(study, tmp_path)] == [
        "claim_checklist.csv",
        "clear_checklist.csv",
    ]
    with (tmp_path / "clear_checklist.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 58
    assert rows[22]["topic"] == "Discretisation"
    assert rows[22]["state"] == "filled"


def test_without_radiomics_claim_alone_is_written(tmp_path: Path) -> None:
    paths = write_checklists(Study([run_of(network_recipe())], SUMMARY), tmp_path)
    assert [path.name for path in paths] == ["claim_checklist.csv"]
    with paths[0].open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 44


def test_bins_by_number_and_given_masks() -> None:
    recipe = network_recipe(
        radiomics={"families": ["statistics"], "bin_number": 32, "keep_range": [0.5, None], "round_to": 1}
    )
    found = by_number(clear(Study([run_of(recipe, bundle="mask file", columns=[])])))
    assert found["23"].answer == "fixed number of 32 bins, lesion by lesion"
    assert found["22"].answer == "none: features on the scan's grid"
    assert "rounded to multiples of 1; voxels of 0.5 to inf" in found["21"].answer
    assert {found[number].state for number in ("19", "20", "27")} == {"open"}
