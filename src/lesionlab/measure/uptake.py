"""Intensities of one lesion: maximum, mean, and the mean in the hottest small sphere.

Pure functions on arrays cut to the lesion's box. Names and units belong to `catalogue`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box
from lesionlab.measure.catalogue import peak_radius_mm

FINE = 32
"""Sub-columns per voxel and axis in the sphere's weights; the sum is then exact to about 1e-4."""


def sphere_weights(spacing: tuple[float, float, float], peak_ml: float) -> NDArray[np.float64]:
    """The volume in ml that each voxel (z, y, x) shares with a sphere of `peak_ml` around the middle voxel.

    An odd number of voxels along each axis. The share is exact along one axis and sampled on FINE x FINE
    lines per voxel along the others; the mean of the three choices does not depend on the order of the
    axes. A sphere inside one voxel gives a single weight.
    """
    radius = peak_radius_mm(peak_ml)
    z, y, x = spacing
    along_x = _shares((z, y, x), radius)
    along_y = _shares((z, x, y), radius).transpose(0, 2, 1)
    along_z = _shares((y, x, z), radius).transpose(2, 0, 1)
    return (along_x + along_y + along_z) / 3.0


def _shares(spacing: tuple[float, float, float], radius: float) -> NDArray[np.float64]:
    """Shares in ml of a sphere with the voxels around its centre, exact along the last axis."""
    half = [max(0, int(np.ceil(radius / s - 0.5))) for s in spacing]
    fine = [
        (np.arange((2 * h + 1) * FINE) + 0.5) / FINE * s - (h + 0.5) * s
        for h, s in zip(half[:2], spacing[:2], strict=True)
    ]
    squared = radius**2 - fine[0][:, None] ** 2 - fine[1][None, :] ** 2
    chord = np.sqrt(np.maximum(squared, 0.0))
    edges = (np.arange(2 * half[2] + 2) - half[2] - 0.5) * spacing[2]
    weights = np.empty((2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1))
    for k in range(2 * half[2] + 1):
        shared = np.minimum(edges[k + 1], chord) - np.maximum(edges[k], -chord)
        blocks = np.maximum(shared, 0.0).reshape(2 * half[0] + 1, FINE, 2 * half[1] + 1, FINE)
        weights[:, :, k] = blocks.mean(axis=(1, 3))
    return weights * (spacing[0] * spacing[1] / 1000.0)


def hottest(values: NDArray[Any], lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of the lesion that hold its maximum; `values` are those of the lesion's box.

    Given to `peak` in place of the lesion they make the second centre rule: the sphere sits on SUVmax.
    """
    if not lesion.any():
        return lesion
    chosen: NDArray[np.bool_] = lesion & (values == values[lesion].max())
    return chosen


def peak(
    array: NDArray[Any], lesion: NDArray[np.bool_], box: Box, weights: NDArray[np.float64]
) -> tuple[float, bool]:
    """The highest weighted mean around any voxel of the lesion, and whether that sphere was cut.

    `lesion` is the lesion inside `box` of `array`. Voxels beyond the image and voxels that are not finite
    do not count: the mean is over what is left of the sphere, and the second value says that
    something was missing. The lesion's own voxels must be finite. The sphere is placed so as to
    maximise its mean, as in Lodge et al., J Nucl Med 2012, doi 10.2967/jnumed.111.101733.
    """
    half = np.array([n // 2 for n in weights.shape])
    corner = np.array([s.start for s in box])
    low = corner - half
    size = np.array(lesion.shape) + 2 * half
    start, stop = np.maximum(low, 0), np.minimum(low + size, array.shape)
    cut = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(np.float64)
    finite = np.isfinite(cut)
    around = tuple((a - c, c + n - b) for a, b, c, n in zip(start, stop, low, size, strict=True))
    values = np.pad(np.where(finite, cut, 0.0), around).ravel()
    known = np.pad(finite, around).ravel()
    centres = np.ravel_multi_index(tuple(np.argwhere(lesion).T + half[:, None]), tuple(size))
    total, covered = np.zeros(len(centres)), np.zeros(len(centres))
    for offset in np.argwhere(weights > 0):
        step = int(
            np.ravel_multi_index(tuple(offset), tuple(size)) - np.ravel_multi_index(tuple(half), tuple(size))
        )
        weight = weights[tuple(offset)]
        total += weight * values[centres + step]
        covered += weight * known[centres + step]
    means = total / covered
    best = int(np.argmax(means))
    return float(means[best]), bool(covered[best] < weights.sum() * (1 - 1e-9))
