"""A lesion drawn or scanned a little differently: masks grown, shrunk and wobbled, images turned and noisier.

Everything random comes from the generator that is handed in. What the changes do to features is computed in
`robustness`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.core.volume import Volume

BoolArray = NDArray[np.bool_]
Kind = Literal["erode", "dilate", "rotate", "noise", "contour"]
SMOOTH_VOXELS: Final = 1.5
"""Width in voxels of the bumps of a randomised contour."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One change. `amount`: share of the volume taken off (erode) or added (dilate), degrees about a random
    axis (rotate), multiples of the image's noise (noise), standard deviation of the boundary in voxels
    (contour)."""

    kind: Kind
    amount: float


STANDARD: Final = (
    *(Perturbation("erode", share) for share in (0.1, 0.2)),
    *(Perturbation("dilate", share) for share in (0.1, 0.2)),
    *(Perturbation("rotate", degrees) for degrees in (4.0, 8.0, 12.0)),
    *(Perturbation("noise", 1.0) for _ in range(3)),
    *(Perturbation("contour", 0.5) for _ in range(5)),
)
"""What is tried unless something else is asked for: 15 changes."""


def perturbed(
    image: Volume, mask: BoolArray, change: Perturbation, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    """The image and mask (z, y, x, on the image's grid) after one change; neither is changed in place.

    An empty mask stays empty. Erosion leaves at least one voxel; dilation ends at the image's border.
    """
    if not mask.any():
        return image, mask
    return _CHANGES[change.kind](image, mask, change.amount, random)


def _extended(mask: BoolArray) -> list[bool]:
    """The axes along which a boundary can lie: not that of one voxel, which a 2D image has."""
    return [n > 1 or mask.size == 1 for n in mask.shape]


def _signed_distance(mask: BoolArray, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance in mm to the mask's boundary, half the shortest voxel edge before the next centre.

    Negative inside and positive outside, however unequal the edges are. The border of the image is a
    boundary, but not along an axis of one voxel.
    """
    axes = _extended(mask)
    half = min(s for s, extended in zip(spacing, axes, strict=True) if extended) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    padded = np.pad(mask, [(int(extended), int(extended)) for extended in axes])
    within = tuple(slice(1, -1) if extended else slice(None) for extended in axes)
    inside = ndimage.distance_transform_edt(padded, sampling=spacing)[within]
    signed: NDArray[np.float64] = np.where(mask, half - inside, outside - half)
    return signed


def _in_order(
    mask: BoolArray, image: Volume, random: np.random.Generator, among: BoolArray
) -> NDArray[np.int64]:
    """Flat indices of `among`, the nearest to the boundary first; equal distances in random order."""
    distance = np.abs(_signed_distance(mask, image.geometry.spacing)).ravel()
    flat = np.flatnonzero(among.ravel())
    order = np.lexsort((random.random(flat.size), np.round(distance[flat], 6)))
    return np.asarray(flat[order], dtype=np.int64)


def _erode(
    image: Volume, mask: BoolArray, amount: float, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    count = int(mask.sum())
    gone = _in_order(mask, image, random, mask)[: min(round(amount * count), count - 1)]
    changed = mask.copy()
    changed.reshape(-1)[gone] = False
    return image, changed


def _dilate(
    image: Volume, mask: BoolArray, amount: float, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    added = _in_order(mask, image, random, ~mask)[: round(amount * int(mask.sum()))]
    changed = mask.copy()
    changed.reshape(-1)[added] = True
    return image, changed


def _rotate(
    image: Volume, mask: BoolArray, amount: float, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    """Image (linear) and mask (linear, from one half) turned about the mask's centroid; 2D about z."""
    axis = random.normal(size=3) if min(mask.shape) > 1 else np.array([1.0, 0.0, 0.0])
    axis = axis / np.linalg.norm(axis)
    turn = Rotation.from_rotvec(axis * math.radians(amount)).as_matrix()
    spacing = np.asarray(image.geometry.spacing)
    matrix = turn * spacing[None, :] / spacing[:, None]
    centre = np.argwhere(mask).mean(axis=0)
    offset = centre - matrix @ centre

    def turned(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            ndimage.affine_transform(array.astype(np.float32), matrix, offset, order=1, mode="nearest")
        )

    return image.with_array(turned(image.array)), turned(mask) >= 0.5


def _noise(
    image: Volume, mask: BoolArray, amount: float, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    noise = random.normal(scale=amount * noise_level(image.array), size=mask.shape)
    return image.with_array((image.array + noise).astype(np.float32)), mask


def _contour(
    image: Volume, mask: BoolArray, amount: float, random: np.random.Generator
) -> tuple[Volume, BoolArray]:
    """The boundary moved in and out by a smooth random field."""
    field = ndimage.gaussian_filter(random.normal(size=mask.shape), SMOOTH_VOXELS, mode="wrap")
    spacing = image.geometry.spacing
    edges = [s for s, extended in zip(spacing, _extended(mask), strict=True) if extended]
    voxel = float(np.prod(edges)) ** (1 / len(edges))
    distance = _signed_distance(mask, spacing)
    changed = distance <= field / (field.std() or 1.0) * amount * voxel
    return image, changed if changed.any() else mask


_CHANGES: Final[
    Mapping[Kind, Callable[[Volume, BoolArray, float, np.random.Generator], tuple[Volume, BoolArray]]]
] = {"erode": _erode, "dilate": _dilate, "rotate": _rotate, "noise": _noise, "contour": _contour}


def noise_level(array: NDArray[Any]) -> float:
    """The standard deviation of an image's noise, from the finest diagonal differences.

    Median absolute deviation / 0.6745 of the Haar wavelet's finest coefficients (Donoho and Johnstone,
    Biometrika 1994, doi 10.1093/biomet/81.3.425). Noise that neighbours share, as after smoothing, is
    underestimated. An image of one voxel has none.
    """
    values = np.asarray(array, dtype=np.float64)
    axes = [axis for axis in range(values.ndim) if values.shape[axis] > 1]
    for axis in axes:
        values = np.diff(values, axis=axis) / math.sqrt(2.0)
    finite = values[np.isfinite(values)]
    if not axes or not finite.size:
        return 0.0
    return float(np.median(np.abs(finite - np.median(finite))) / 0.6745)
