"""The fingerprint on real patients beside nnU-Net's own draws, and the plans that follow from either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlab.core.files import write_json
from lesionlab.core.warned import without_warnings
from lesionlab.core.workspace import Workspace
from lesionlab.plan.fingerprint import PERCENTILES, Fingerprint
from lesionlab.read import load_mask, open_case
from lesionlab.report import save_volume

pytestmark = pytest.mark.real
INTENSITIES = "foreground_intensity_properties_per_channel"
DRAWS = 300_000


def sarcomas(data: Path) -> list[tuple[Any, Any]]:
    cases = [open_case(path) for path in sorted((data / "sts").glob("STS_*"))[:5]]
    return [(case.channels["suv"], case.truth) for case in cases]


def ultrasound(data: Path) -> list[tuple[Any, Any]]:
    found = []
    for path in sorted((data / "bus_bra" / "Images").glob("*.png"))[:12]:
        image = open_case(path).channels["us"]
        mask = data / "bus_bra" / "Masks" / path.name.replace("bus_", "mask_")
        found.append((image, load_mask(mask, image.geometry)))
    return found


@pytest.mark.parametrize("cases_of", [sarcomas, ultrasound])
def test_statistics_are_those_of_nnunets_draws_and_the_plans_equal(
    shared_data: Path, tmp_path: Path, cases_of: Any
) -> None:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )

    workspace = Workspace(tmp_path, "real")
    results, draws = [], []
    with Fingerprint(tmp_path) as gathered:
        for number, (image, truth) in enumerate(cases_of(shared_data)):
            name, label = f"case{number:02d}", truth.with_array((truth.array > 0).astype(np.uint8))
            files = [workspace.raw / "imagesTr" / f"{name}_0000.nii.gz"]
            save_volume(image.with_array(image.array.astype(np.float32)), files[0])
            save_volume(label, workspace.raw / "labelsTr" / f"{name}.nii.gz")
            gathered.add(name, [image.array.astype(np.float32)], label.array, image.geometry.spacing)
            results.append(analysed(DatasetFingerprintExtractor, files, workspace, name))
            draws.append(results[-1][2][0])
        mine = gathered.result()
    theirs = {
        "spacings": [list(map(float, result[1])) for result in results],
        "shapes_after_crop": [list(map(int, result[0])) for result in results],
        INTENSITIES: {"0": statistics(np.concatenate(draws))},
        "median_relative_size_after_cropping": float(np.median([result[4] for result in results])),
    }
    drawn, exact = theirs[INTENSITIES]["0"], mine[INTENSITIES]["0"]
    width = drawn["percentile_99_5"] - drawn["percentile_00_5"]
    for name in ("mean", "std", *PERCENTILES):
        assert exact[name] == pytest.approx(drawn[name], abs=0.01 * width), name
    assert planned(workspace, mine, len(results)) == planned(workspace, theirs, len(results))


def analysed(extractor: Any, files: list[Path], workspace: Workspace, name: str) -> Any:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    label = str(workspace.raw / "labelsTr" / f"{name}.nii.gz")
    return extractor.analyze_case(list(map(str, files)), label, SimpleITKIO, DRAWS)


def statistics(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    moments = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    found = {**moments, "percentile_00_5": low, "median": middle, "percentile_99_5": high}
    return {name: float(value) for name, value in found.items()}


def planned(workspace: Workspace, fingerprint: dict[str, Any], cases: int) -> dict[str, Any]:
    """nnU-Net's plans from a fingerprint, without the intensities that they repeat."""
    labels = {"background": 0, "lesion": 1}
    facts = {
        "channel_names": {"0": "image"},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    for folder in (workspace.raw, workspace.preprocessed):
        write_json(folder / "dataset.json", facts)
    write_json(workspace.preprocessed / "dataset_fingerprint.json", fingerprint)
    with workspace.environment(loaders=1), without_warnings():
        from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
            ExperimentPlanner,
        )

        ExperimentPlanner(workspace.dataset).plan_experiment()
    plans: dict[str, Any] = json.loads((workspace.preprocessed / "nnUNetPlans.json").read_text())
    assert plans.pop(INTENSITIES)
    return plans
