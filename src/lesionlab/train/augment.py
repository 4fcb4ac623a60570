"""Augmentations other than nnU-Net's own, of batchgeneratorsv2's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform

ANGLE_RAD = float(np.deg2rad(30))
PROBABILITY = 0.5
SMALLEST_CROP = 0.7


def flips_rotation_crop(
    patch_size: Sequence[int], axes: Sequence[int] | None, *, in_plane: bool
) -> BasicTransform:
    """Flips along each of `axes` (None = none), rotation by up to 30 degrees, crop to 70 to 100 % of edges.

    Each happens to half of the patches, independently. The image (c, ...) comes larger than `patch_size`
    where rotation needs it, and leaves at that size, crops enlarged to it; beyond the image lies 0, in the
    segmentation -1. `in_plane` rotates and crops within the slices (y, x) only, for thick ones.
    """
    size = tuple(patch_size[1:] if in_plane else patch_size)
    turned = SpatialTransform(
        size,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=PROBABILITY,
        rotation=(-ANGLE_RAD, ANGLE_RAD),
        p_scaling=PROBABILITY,
        scaling=(SMALLEST_CROP, 1.0),
        p_synchronize_scaling_across_axes=1,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    steps = [Convert3DTo2DTransform(), turned, Convert2DTo3DTransform()] if in_plane else [turned]
    return ComposeTransforms([*steps, *([MirrorTransform(tuple(axes))] if axes else [])])
