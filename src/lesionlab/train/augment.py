"""Augmentations other than nnU-Net's own, of batchgeneratorsv2's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from batchgeneratorsv2.helpers.scalar_type import RandomScalar
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform

ANGLE_RAD = float(np.deg2rad(30))
PROBABILITY = 0.5
SMALLEST_CROP = 0.7
INTENSITY_PROBABILITY = 0.25


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


def intensity_changes(*, in_plane: bool) -> BasicTransform:
    """What another scanner or another gain would change: grey values, never the place of anything.

    Brightness times 0.75 to 1.25, contrast 0.75 to 1.25, gamma 0.7 to 1.5, a blur of 0.5 to 1 voxels and a
    resolution of 0.5 to 1: nnU-Net's ranges (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), each for a
    quarter of the patches, independently, each channel by itself. nnU-Net's noise is left out: its strength
    is meant for z-scores. `in_plane` lowers the resolution within the slices (y, x) only.
    """
    one = {"synchronize_channels": False, "p_per_channel": 1}
    factor = BGContrast((0.75, 1.25))
    gamma: RandomScalar = BGContrast((0.7, 1.5))
    along_z = (0,) if in_plane else None
    changes = [
        GaussianBlurTransform(blur_sigma=(0.5, 1.0), synchronize_axes=False, **one),
        MultiplicativeBrightnessTransform(multiplier_range=factor, **one),
        ContrastTransform(contrast_range=factor, preserve_range=True, **one),
        SimulateLowResolutionTransform(
            scale=(0.5, 1), synchronize_axes=True, ignore_axes=along_z, allowed_channels=None, **one
        ),
        GammaTransform(gamma=gamma, p_invert_image=0, p_retain_stats=1, **one),
    ]
    return ComposeTransforms([RandomTransform(change, INTENSITY_PROBABILITY) for change in changes])
