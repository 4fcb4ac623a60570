import numpy as np
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.plan.fingerprint import fingerprint_case, fingerprint_dataset


def test_crop_is_the_box_of_what_is_not_zero_in_any_channel():
    first, second = np.zeros((5, 6, 7)), np.zeros((5, 6, 7))
    first[1, 2, 3] = 1
    second[3, 2, 6] = -2
    result = fingerprint_case([first, second], np.zeros((5, 6, 7)), (1.0, 1.0, 1.0))
    assert result.shape == (3, 1, 4)
    assert result.kept == pytest.approx(12 / 210)


def test_an_all_zero_image_keeps_its_shape():
    assert fingerprint_case([np.zeros((2, 3, 4))], np.zeros((2, 3, 4)), (1, 1, 1)).shape == (2, 3, 4)


def test_every_case_weighs_the_same_however_many_voxels_it_has():
    small = fingerprint_case([np.full((1, 1, 2), 10.0)], np.ones((1, 1, 2)), (1, 1, 1))
    large = fingerprint_case([np.full((1, 10, 20), 20.0)], np.ones((1, 10, 20)), (1, 1, 1))
    facts = fingerprint_dataset([small, large])["foreground_intensity_properties_per_channel"]["0"]
    assert facts["mean"] == pytest.approx(15.0)
    assert facts["std"] == pytest.approx(5.0)
    assert (facts["min"], facts["max"]) == (10.0, 20.0)


def test_agrees_with_the_draws_that_nnunet_makes():
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )

    random = np.random.default_rng(3)
    cases, draws = [], []
    for size in (12, 20, 31):
        image = random.gamma(2.0, size / 10, (size, size, size)).astype(np.float32)
        truth = (image > np.quantile(image, 0.7)).astype(np.uint8)
        cases.append(fingerprint_case([image], truth, (1.0, 1.0, 1.0)))
        drawn, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
            truth[None], image[None], num_samples=400_000
        )
        draws.append(drawn[0])
    pooled = np.concatenate(draws)
    facts = fingerprint_dataset(cases)["foreground_intensity_properties_per_channel"]["0"]
    assert facts["mean"] == pytest.approx(pooled.mean(), rel=2e-3)
    assert facts["std"] == pytest.approx(pooled.std(), rel=5e-3)
    for name, percentile in (("percentile_00_5", 0.5), ("median", 50), ("percentile_99_5", 99.5)):
        assert facts[name] == pytest.approx(np.percentile(pooled, percentile), rel=1e-2)


def test_a_data_set_without_any_lesion_is_refused():
    empty = fingerprint_case([np.ones((2, 2, 2))], np.zeros((2, 2, 2)), (1, 1, 1))
    with pytest.raises(DatasetError, match="without any lesion"):
        fingerprint_dataset([empty])
