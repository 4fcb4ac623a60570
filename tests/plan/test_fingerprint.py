from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.errors import DatasetError
from lesionlab.plan.fingerprint import PERCENTILES, Fingerprint

INTENSITIES = "foreground_intensity_properties_per_channel"
SPACING = (1.0, 1.0, 1.0)
ANY_VALUES = hnp.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False)
)


@pytest.fixture
def gathered(tmp_path: Path) -> Iterator[Fingerprint]:
    with Fingerprint(tmp_path) as found:
        yield found


def add_values(gathered: Fingerprint, name: str, values: np.ndarray) -> None:
    array = values.reshape(1, 1, -1)
    gathered.add(name, [array], np.ones(array.shape), SPACING)


def by_sorting(cases: list[np.ndarray]) -> dict[str, float]:
    """The same percentiles from all voxels at once: sorted, and weights summed up to the share."""
    values = np.concatenate(cases)
    weights = np.concatenate([np.full(case.size, 1 / case.size) for case in cases]) / len(cases)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    places = {name: np.searchsorted(reached, share * (1 - 1e-11)) for name, share in PERCENTILES.items()}
    return {name: float(values[order][min(place, values.size - 1)]) for name, place in places.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_VALUES, min_size=1, max_size=6))
def test_percentiles_are_exactly_those_of_all_voxels_sorted(
    tmp_path_factory: pytest.TempPathFactory, cases: list[np.ndarray]
) -> None:
    with Fingerprint(tmp_path_factory.getbasetemp()) as gathered:
        for number, case in enumerate(cases):
            add_values(gathered, str(number), case)
        facts = gathered.result()[INTENSITIES]["0"]
    assert {name: facts[name] for name in PERCENTILES} == by_sorting(cases)
    values = np.concatenate(cases)
    assert (facts["min"], facts["max"]) == (values.min(), values.max())
    assert facts["mean"] == pytest.approx(np.mean([case.mean(dtype=float) for case in cases]), rel=1e-9)


def test_memory_does_not_grow_with_the_number_of_voxels_and_nothing_is_left_on_disk(tmp_path: Path) -> None:
    def peak(cases: int) -> int:
        random = np.random.default_rng(0)
        tracemalloc.start()
        with Fingerprint(tmp_path) as gathered:
            for number in range(cases):
                add_values(gathered, str(number), random.normal(size=100_000))
            gathered.result()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(20) < 1.1 * peak(3)
    assert list(tmp_path.iterdir()) == []


def test_crop_is_the_box_of_what_is_not_zero_in_any_channel(gathered: Fingerprint) -> None:
    first, second = np.zeros((5, 6, 7)), np.zeros((5, 6, 7))
    first[1, 2, 3] = 1
    second[3, 2, 6] = -2
    gathered.add("a", [first, second], np.zeros((5, 6, 7)), SPACING)
    assert gathered.cases["a"].shape == (3, 1, 4)
    assert gathered.cases["a"].kept == pytest.approx(12 / 210)


def test_an_all_zero_image_keeps_its_shape(gathered: Fingerprint) -> None:
    gathered.add("a", [np.zeros((2, 3, 4))], np.zeros((2, 3, 4)), SPACING)
    assert gathered.cases["a"].shape == (2, 3, 4)


def test_every_case_weighs_the_same_however_many_voxels_it_has(gathered: Fingerprint) -> None:
    add_values(gathered, "small", np.full(2, 10.0))
    add_values(gathered, "large", np.full(200, 20.0))
    facts = gathered.result()[INTENSITIES]["0"]
    assert facts["mean"] == pytest.approx(15.0)
    assert facts["std"] == pytest.approx(5.0)
    assert (facts["min"], facts["max"]) == (10.0, 20.0)


def test_a_case_that_is_not_asked_for_counts_nowhere(gathered: Fingerprint) -> None:
    add_values(gathered, "a", np.full(2, 10.0))
    add_values(gathered, "b", np.full(3, 50.0))
    found = gathered.result(["a"])
    assert found["shapes_after_crop"] == [[1, 1, 2]]
    assert found[INTENSITIES]["0"]["max"] == 10.0


def test_agrees_with_the_draws_that_nnunet_makes(gathered: Fingerprint) -> None:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )

    random = np.random.default_rng(3)
    draws = []
    for size in (12, 20, 31):
        image = random.gamma(2.0, size / 10, (size, size, size)).astype(np.float32)
        truth = (image > np.quantile(image, 0.7)).astype(np.uint8)
        gathered.add(str(size), [image], truth, SPACING)
        drawn, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
            truth[None], image[None], num_samples=400_000
        )
        draws.append(drawn[0])
    pooled = np.concatenate(draws)
    facts = gathered.result()[INTENSITIES]["0"]
    assert facts["mean"] == pytest.approx(pooled.mean(), rel=2e-3)
    assert facts["std"] == pytest.approx(pooled.std(), rel=5e-3)
    for name, percentile in (("percentile_00_5", 0.5), ("median", 50), ("percentile_99_5", 99.5)):
        assert facts[name] == pytest.approx(np.percentile(pooled, percentile), rel=1e-2)


def test_a_data_set_without_any_lesion_is_refused(gathered: Fingerprint) -> None:
    gathered.add("a", [np.ones((2, 2, 2))], np.zeros((2, 2, 2)), SPACING)
    with pytest.raises(DatasetError, match="without any lesion"):
        gathered.result()


def test_the_fingerprint_of_files_needs_neither_scipy_nor_recipes() -> None:
    names = "lesionlab.plan.fingerprint, lesionlab.plan.leaks, lesionlab.read.nifti, lesionlab.core.workspace"
    code = f"import sys, {names}; print({{'scipy', 'pydantic', 'SimpleITK', 'pydicom'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", done.stderr
