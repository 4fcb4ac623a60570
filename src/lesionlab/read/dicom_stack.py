"""Slices of one series to a volume: sort along the normal, check the steps, decode the pixels.

Every check names the file or series, what was found and what was needed. Choosing the series belongs to
`dicom.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry
from lesionlab.read.dicom_pixels import decode
from lesionlab.read.dicom_slices import Slice
from lesionlab.read.loaded import require_finite
from lesionlab.read.orthonormal import nearest_orthonormal

SAME_PLACE = 0.05
"""Two slices closer than this share of the step lie at the same place."""
GAP = 1.5
"""A step of this many smallest steps means that slices are missing."""
UNEVEN = 0.25
"""Largest departure from an even grid, as a share of the step, that is only noted."""
SIDEWAYS_MM = 1.0


def normal_of(item: Slice) -> NDArray[np.float64]:
    """Unit normal of a slice: column-index direction x row-index direction."""
    if item.axes is None or item.position is None:
        raise GeometryError(item.path, "no ImagePositionPatient or ImageOrientationPatient", "both")
    normal = np.cross(item.axes[0], item.axes[1])
    length = float(np.linalg.norm(normal))
    if length < 0.1:
        raise GeometryError(
            item.path, f"ImageOrientationPatient {item.axes.ravel().tolist()}", "two directions"
        )
    return np.asarray(normal / length, dtype=np.float64)


def heights_of(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """Positions along the first slice's normal, mm."""
    normal = normal_of(slices[0])
    positions = np.array([s.position for s in slices], dtype=np.float64)
    return np.asarray(positions @ normal, dtype=np.float64)


def stack(subject: Path, slices: Sequence[Slice]) -> tuple[list[Slice], Geometry, list[str]]:
    """Slices in order of growing height, their grid, and notes on what was not quite even.

    Raises GeometryError for slices of different shape, spacing or orientation, for gaps, duplicates,
    uneven or sideways steps.
    """
    require_alike(slices)
    heights = heights_of(slices)
    order = np.argsort(heights, kind="stable")
    ordered = [slices[i] for i in order]
    step, notes = _step(subject, ordered, heights[order])
    first = ordered[0]
    normal = normal_of(first)
    if first.axes is None or first.spacing is None or first.position is None:
        raise GeometryError(first.path, "no PixelSpacing", "PixelSpacing in mm")
    columns = np.stack([normal, first.axes[1], first.axes[0]], axis=1)
    axes, note = nearest_orthonormal(first.path, columns)
    sideways = sideways_mm(subject, ordered)
    if sideways > 0.1:
        notes.append(f"slices move up to {sideways:.2f} mm sideways; taken as straight")
    geometry = Geometry(
        (len(ordered), *first.shape),
        (step, *first.spacing),
        tuple(np.ravel(first.position)),
        tuple(axes.ravel()),
    )
    return ordered, geometry, notes + ([note] if note else [])


def voxels(slices: Sequence[Slice]) -> NDArray[np.float32]:
    """Decode, rescale (slope and intercept of each slice) and stack; float32 (z, y, x)."""
    array = np.empty((len(slices), *slices[0].shape), dtype=np.float32)
    decoded: dict[Path, tuple[NDArray[Any], bool]] = {}
    for index, item in enumerate(slices):
        if item.path not in decoded:
            decoded.clear()
            decoded[item.path] = decode(item)
        frames, rescaled = decoded[item.path]
        if item.frame >= len(frames) or frames.shape[1:] != item.shape:
            raise ReadError(item.path, f"pixels of shape {frames.shape}", f"frames of shape {item.shape}")
        stored = frames[item.frame]
        slope, intercept = (1.0, 0.0) if rescaled else (item.slope, item.intercept)
        array[index] = stored * (1.0 if slope is None else slope) + (intercept or 0.0)
    require_finite(slices[0].path.parent if len(slices) > 1 else slices[0].path, array)
    return array


def sideways_mm(subject: Path, slices: Sequence[Slice]) -> float:
    """How far slices stray from the first one's normal; GeometryError for more than `SIDEWAYS_MM`."""
    normal = normal_of(slices[0])
    positions = np.array([s.position for s in slices], dtype=np.float64)
    drift = positions - positions[0]
    sideways = float(np.linalg.norm(drift - (drift @ normal)[:, None] * normal, axis=1).max())
    if sideways > SIDEWAYS_MM:
        raise GeometryError(
            subject,
            f"slices that move {sideways:.1f} mm sideways (gantry tilt)",
            "slices stacked along their normal",
        )
    return sideways


def require_alike(slices: Sequence[Slice]) -> None:
    """Raise GeometryError for slices without a place, or of different shape, spacing or orientation."""
    first = slices[0]
    normal_of(first)
    for item in slices[1:]:
        normal_of(item)
        if item.shape != first.shape:
            raise GeometryError(
                item.path, f"a slice of {item.shape} pixels", f"{first.shape} as in {first.path.name}"
            )
        if item.spacing != first.spacing and not np.allclose(
            item.spacing or 0, first.spacing or 1, rtol=1e-3
        ):
            raise GeometryError(
                item.path, f"PixelSpacing {item.spacing}", f"{first.spacing} as in {first.path.name}"
            )
        if item.axes is None or first.axes is None or np.abs(item.axes - first.axes).max() > 1e-3:
            raise GeometryError(
                item.path, "a slice of another orientation", f"the orientation of {first.path.name}"
            )


def _step(subject: Path, ordered: list[Slice], heights: NDArray[np.float64]) -> tuple[float, list[str]]:
    if len(ordered) == 1:
        return _thickness(ordered[0])
    steps = np.diff(heights)
    middle = float(np.median(steps))
    if middle <= 0 or (steps < SAME_PLACE * middle).any():
        index = int(np.argmin(steps))
        pair = f"{ordered[index].path.name} and {ordered[index + 1].path.name}"
        raise GeometryError(subject, f"duplicate slices: {pair} at one position", "one slice per position")
    smallest = float(steps.min())
    if (steps > GAP * smallest).any():
        index = int(np.argmax(steps > GAP * smallest))
        missing = round(float(np.rint(steps / smallest - 1).sum()))
        raise GeometryError(
            subject,
            f"{missing} missing slice(s), a step of {steps[index]:.4g} mm after {ordered[index].path.name}",
            f"even steps of {smallest:.4g} mm",
        )
    step = float((heights[-1] - heights[0]) / (len(heights) - 1))
    off = float(np.abs(heights - heights[0] - step * np.arange(len(heights))).max())
    if off > UNEVEN * step:
        raise GeometryError(
            subject, f"steps from {steps.min():.4g} to {steps.max():.4g} mm", f"even steps of {middle:.4g} mm"
        )
    if off > 0.005 * step:
        return step, [f"uneven slice steps: slices lie up to {off:.3g} mm off the even grid of {step:.4g} mm"]
    return step, []


def _thickness(item: Slice) -> tuple[float, list[str]]:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = item.get(keyword)
        if value not in (None, ""):
            if not float(value) > 0:
                raise GeometryError(item.path, f"{keyword} {value} mm", "a positive thickness")
            return float(value), []
    return 1.0, ["slice thickness unknown: 1 mm assumed"]
