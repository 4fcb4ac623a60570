import numpy as np
import pytest
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from lesionlab.core.errors import BundleError
from lesionlab.predict.space import Space
from plans_phantom import plan_of, scan

PLANS = {
    "finer": ((2.0, 2.0, 2.0), (3.0, 2.5, 4.0), (0, 1, 2), True),
    "other axes": ((3.0, 2.0, 4.0), (3.0, 3.5, 2.5), (1, 0, 2), True),
    "thick slices": ((5.0, 1.5, 1.5), (7.0, 1.2, 1.9), (0, 1, 2), False),
    "2D": ((1.5, 2.0), (4.0, 2.0, 2.5), (2, 0, 1), True),
    "as it is": ((3.0, 2.0, 2.0), (3.0, 2.0, 2.0), (0, 1, 2), False),
}


@pytest.mark.parametrize(("target", "spacing", "transpose", "masked"), PLANS.values(), ids=PLANS)
def test_the_way_in_and_out_is_that_of_nnunet(target, spacing, transpose, masked):
    plans, configuration = plan_of(target, transpose=transpose, masked=masked)
    data = scan((18, 21, 16))
    before = data.copy()
    space = Space(plans, configuration, "case", spacing, workers=2)
    found = space.enter(data)
    np.testing.assert_array_equal(data, before)
    expected, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        data, None, {"spacing": list(spacing)}, plans, configuration, {}
    )
    assert found.shape == expected.shape and found.dtype == np.float32
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-6 * np.abs(theirs).max())

    random = np.random.default_rng(1)
    for classes in (2, 3):
        logits = random.normal(size=(classes, *found.shape[1:])).astype(np.float32)
        labels = plans.get_label_manager(
            {"labels": {"background": 0, **{f"l{number}": number for number in range(1, classes)}}}
        )
        mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
            torch.from_numpy(logits), plans, configuration, labels, properties, return_probabilities=True
        )
        given = logits[1:] - logits[:1] if classes == 2 else logits
        ours, probability = space.leave(np.array_split(given, 5, axis=1), probability=classes - 1)
        assert ours.dtype == np.uint8 and probability.dtype == np.float32
        np.testing.assert_array_equal(ours, mask)
        np.testing.assert_allclose(probability, probabilities[1:], atol=2e-6)
        first = space.leave(np.array_split(given, 5, axis=1), probability=1)[1]
        np.testing.assert_array_equal(first, probability[:1])
        # without a probability only what may become a lesion is computed, and the mask is the same
        alone, none = space.leave(np.array_split(given, 2, axis=1))
        assert none is None
        np.testing.assert_array_equal(alone, ours)


def test_a_blank_scan_stays_blank_where_the_body_is_scaled():
    plans, configuration = plan_of((2.0, 2.0, 2.0), masked=True)
    data = scan((6, 9, 7)) * 0
    found = Space(plans, configuration, "case", (3.0, 2.5, 4.0)).enter(data)
    np.testing.assert_array_equal(found[0], 0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("threshold", [1.5, 10.0])
def test_which_slices_are_thick_is_for_the_plans_to_say(threshold):
    how = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    kinds = {"data": {**how, "order": 3}, "probabilities": {**how, "order": 1}}
    stated = {"separate_z_anisotropy_threshold": threshold}
    changes = {f"resampling_fn_{kind}_kwargs": {**kwargs, **stated} for kind, kwargs in kinds.items()}
    spacing = (5.0, 2.5, 2.5) if threshold < 3 else (9.0, 1.5, 1.5)
    plans, configuration = plan_of((3.0, 2.0, 2.0), masked=False, **changes)
    space, data = Space(plans, configuration, "case", spacing), scan((12, 21, 16))
    found = space.enter(data)
    expected, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        data, None, {"spacing": list(spacing)}, plans, configuration, {}
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-6 * np.abs(theirs).max())
    logits = np.random.default_rng(1).normal(size=(2, *found.shape[1:])).astype(np.float32)
    labels = plans.get_label_manager({"labels": {"background": 0, "lesion": 1}})
    mask = convert_predicted_logits_to_segmentation_with_correct_shape(
        torch.from_numpy(logits), plans, configuration, labels, properties
    )
    np.testing.assert_array_equal(space.leave([logits[1:] - logits[:1]])[0], mask)


def test_another_resampling_of_the_plans_is_called_as_it_is():
    plain = plan_of((2.0, 2.0, 2.0))
    linear = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": True}
    plans, configuration = plan_of((2.0, 2.0, 2.0), resampling_fn_data_kwargs=linear)
    data, spacing = scan((12, 14, 13)), (9.0, 2.5, 2.5)
    expected, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        data, None, {"spacing": list(spacing)}, plans, configuration, {}
    )
    np.testing.assert_allclose(Space(plans, configuration, "c", spacing).enter(data), expected, atol=1e-5)
    assert np.abs(Space(*plain, "c", spacing).enter(data) - expected).max() > 0.1


def test_a_mask_goes_the_same_way():
    plans, configuration = plan_of((2.0, 4.0, 2.0), transpose=(1, 0, 2))
    space = Space(plans, configuration, "c", (4.0, 4.0, 4.0))
    data = scan((18, 21, 16))
    inside = space.enter(data)
    mask = np.zeros(data.shape[1:], dtype=bool)
    mask[10, 12, 8] = True
    found = space.nearest(mask)
    assert found.shape == inside.shape[1:]
    # after the crop (2, 0, 1) the voxel is (8, 12, 7); axes 0 and 1 change places, then two become four
    np.testing.assert_array_equal(np.argwhere(found).mean(axis=0), [24.5, 8, 14.5])
    assert not space.nearest(np.zeros_like(mask)).any()


def test_an_empty_scan_stays_whole():
    plans, configuration = plan_of((2.0, 2.0, 2.0), masked=False)
    space = Space(plans, configuration, "c", (2.0, 2.0, 4.0))
    found = space.enter(np.zeros((5, 6, 7, 8), dtype=np.float32))
    assert found.shape == (5, 6, 7, 16) and np.isfinite(found).all()
    mask, probability = space.leave([np.full((1, 6, 7, 16), -200.0, dtype=np.float32)], probability=1)
    assert mask.shape == probability.shape[1:] == (6, 7, 8) and not mask.any() and not probability.any()


def test_plans_that_are_not_understood_are_refused():
    plans, configuration = plan_of((2.0, 2.0, 2.0), preprocessor_name="MyPreprocessor")
    with pytest.raises(BundleError, match="case 3: found preprocessing by MyPreprocessor"):
        Space(plans, configuration, "case 3", (2.0, 2.0, 2.0))
    plans, configuration = plan_of((2.0, 2.0, 2.0), normalization_schemes=["MyScheme"])
    with pytest.raises(BundleError, match="case 3: found normalisation MyScheme"):
        Space(plans, configuration, "case 3", (2.0, 2.0, 2.0)).enter(np.ones((1, 4, 4, 4)))


def test_colours_that_are_none_are_refused():
    plans, configuration = plan_of((2.0, 2.0, 2.0), normalization_schemes=["RGBTo01Normalization"])
    with pytest.raises(BundleError, match="case 3: found values 1 to 256; needed 8-bit colour"):
        Space(plans, configuration, "case 3", (2.0, 2.0, 2.0)).enter(
            np.linspace(1, 256, 64, dtype=np.float32).reshape(1, 4, 4, 4)
        )
