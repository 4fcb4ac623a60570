"""What planning and prediction share of nnU-Net: its configuration with our resampling, its files of cases.

Only the default resampling, `resample_data_or_seg_to_shape`, is replaced, because ours gives its numbers. A
plan that names another function gets that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from lesionlab.core.resize import ANISOTROPY, low_resolution_axis, resize
from lesionlab.core.resize_labels import resize_labels

DEFAULT = resample_data_or_seg_to_shape.__name__


def resample_to_shape(
    data: Any,
    new_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    **how: Any,
) -> Any:
    """nnU-Net's default resampling of images, segmentations and logits (c, z, y, x), by our own `resize`.

    Takes the keywords that its plans name (is_seg, order, order_z, force_separate_z,
    separate_z_anisotropy_threshold) and gives float32 for images, the same dtype for segmentations. What
    nnU-Net's planners never ask for (other orders, interpolation across coarse slices) is left to nnU-Net.
    A scan thinner than half a voxel of the plan, to whose shape nnU-Net rounds 0, becomes one voxel thick, as
    prediction has it.
    """
    new_shape = [max(1, int(size)) for size in new_shape]
    order, is_seg = how.get("order", 3), how.get("is_seg", False)
    if how.get("order_z", 0) != 0 or order not in ((0, 1) if is_seg else (0, 1, 3)):
        return resample_data_or_seg_to_shape(data, new_shape, current_spacing, new_spacing, **how)
    array = data if isinstance(data, np.ndarray) else data.numpy()
    forced = how.get("force_separate_z", False)
    threshold = how.get("separate_z_anisotropy_threshold", ANISOTROPY)
    axis = None
    if forced is None:
        axis = low_resolution_axis(current_spacing, new_spacing, threshold=threshold)
    elif forced:
        axis = low_resolution_axis(current_spacing, current_spacing, threshold=0.0)
    if is_seg and order == 1:
        return resize_labels(array, new_shape, separate_axis=axis)
    return resize(array, new_shape, order=order, separate_axis=axis)


class FastConfiguration(ConfigurationManager):
    """A configuration of the plans whose default resampling functions are ours.

    Made from nnU-Net's own: `FastConfiguration(plans.get_configuration(name).configuration)`.
    """

    @property
    def resampling_fn_data(self) -> Callable[..., Any]:
        """Resampling of the images."""
        return self._ours("resampling_fn_data") or super().resampling_fn_data

    @property
    def resampling_fn_seg(self) -> Callable[..., Any]:
        """Resampling of the segmentations."""
        return self._ours("resampling_fn_seg") or super().resampling_fn_seg

    @property
    def resampling_fn_probabilities(self) -> Callable[..., Any]:
        """Resampling of the logits."""
        return self._ours("resampling_fn_probabilities") or super().resampling_fn_probabilities

    def _ours(self, name: str) -> Callable[..., Any] | None:
        if self.configuration[name] != DEFAULT:
            return None
        return partial(resample_to_shape, **self.configuration[f"{name}_kwargs"])


def load_prepared(folder: Path, case: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A preprocessed training case: its channels (c, z, y, x) float32 and its labels (z, y, x).

    Raises FileNotFoundError for a case that was not preprocessed.
    """
    data, labels, _, _ = nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)
    return np.asarray(data[:], np.float32), np.asarray(labels[:])[0]


def save_labels(labels: np.ndarray[Any, Any], file: Path, patch: Sequence[int]) -> None:
    """Write labels (z, y, x) as nnU-Net's loader wants those of a first network: uint8, in `file`.b2nd.

    `patch` is what will be cut out of them at a time.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = np.ascontiguousarray(labels, np.uint8)
    blocks, chunks = comp_blosc2_params((1, *plain.shape), tuple(patch), 1)
    # beside the target, then renamed: an interrupted run leaves no half-written file
    temporary = file.parent / f".{file.name}"
    nnUNetDatasetBlosc2.save_seg(plain, str(temporary), list(chunks[1:]), list(blocks[1:]))
    temporary.with_name(f"{temporary.name}.b2nd").replace(file.with_name(f"{file.name}.b2nd"))
