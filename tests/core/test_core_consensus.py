"""Which one mask is taken of several readers'."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from lesionlab.core.consensus import consensus
from lesionlab.core.errors import DatasetError, GeometryError


def three():
    masks = {name: np.zeros((1, 20, 20), bool) for name in ("anna", "bert", "cleo")}
    masks["anna"][0, 5:12, 5:12] = True
    masks["bert"][0, 6:13, 6:13] = True
    masks["cleo"][0, 7:15, 5:12] = True
    return masks


def test_every_rule_by_hand():
    masks = three()
    a, b, c = masks.values()
    wanted = {
        "first": a,
        "second": b,
        "cleo": c,
        "union": a | b | c,
        "intersection": a & b & c,
        "majority": (a & b) | (a & c) | (b & c),
    }
    for rule, mask in wanted.items():
        np.testing.assert_array_equal(consensus(masks, rule), mask, err_msg=rule)


def test_staple_agrees_with_simpleitk_on_the_same_box():
    masks = three()
    box = (slice(None), slice(0, 20), slice(0, 17))  # all foreground and five voxels around
    images = [sitk.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks.values()]
    theirs = np.zeros((1, 20, 20))
    theirs[box] = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))
    ours = consensus(masks, "staple")
    assert 0 < ours.sum() < consensus(masks, "union").sum()
    np.testing.assert_array_equal(ours, theirs >= 0.5)


def test_one_reader_is_the_consensus_unless_another_is_named():
    mask = np.ones((1, 2, 2), bool)
    assert consensus({"anna": mask}, "staple") is mask
    with pytest.raises(DatasetError, match="truth = 'second'; needed one of anna, first, union"):
        consensus({"anna": mask}, "second")


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match="one grid for all"):
        consensus({"anna": np.ones((1, 2, 2), bool), "bert": np.ones((1, 3, 2), bool)}, "union")
