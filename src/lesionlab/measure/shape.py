"""Diameters and position of one lesion, from the centres of its voxels.

Distances run between voxel centres, so a single voxel has diameter 0 and a digitised ball comes within
about a voxel of its own diameter. Surface meshes and IBSI's shape family are another matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def diameter_3d(lesion: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """The largest distance in mm between two voxel centres of a lesion (z, y, x); 0 for one voxel."""
    points = hull_points(lesion, spacing)
    return float(np.sqrt(largest_squared_distance(points, points)))


def hull_points(lesion: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Points:
    """Voxel centres (n, 3) in mm from the corner of the box, the vertices of the convex hull among them."""
    return _hull(_row_ends(lesion) * np.asarray(spacing))


def diameters_in_slice(lesion: NDArray[np.bool_], spacing: tuple[float, float, float]) -> tuple[float, float]:
    """The longest diameter in mm within one slice (z) of a lesion, and the extent at right angles to it.

    The slice is the one with the longest diameter; where several pairs of voxels are equally far apart,
    the pair with the widest extent counts, so that the answer does not depend on the voxels' order.
    RECIST measures in the plane of the slices likewise; the second value is the distance between the
    two lines along the diameter that enclose the slice. Both are 0 for one voxel.
    """
    plane = np.asarray(spacing[1:])
    rows = _row_ends(lesion)
    order = np.argsort(rows[:, 0], kind="stable")
    slices = np.split(rows[order][:, 1:] * plane, np.flatnonzero(np.diff(rows[order][:, 0])) + 1)
    bounds = [float(np.hypot(*np.ptp(points, axis=0))) for points in slices]
    best = (0.0, 0.0)
    for k in np.argsort(bounds)[::-1]:
        if bounds[k] < best[0] * (1 - 1e-9):
            break
        length, width = _length_and_width(slices[k])
        if length > best[0] * (1 + 1e-9) or (length >= best[0] * (1 - 1e-9) and width > best[1]):
            best = (length, width)
    return best


def centroid_index(lesion: NDArray[np.bool_]) -> Points:
    """The mean index (z, y, x) of the lesion's voxels, each counting once."""
    return np.asarray(np.argwhere(lesion).mean(axis=0), dtype=np.float64)


def _row_ends(lesion: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (n, 3) of the first and last voxel of every row along x: no other can be a hull vertex."""
    z, y = np.nonzero(lesion.any(axis=2))
    rows = lesion[z, y]
    first = rows.argmax(axis=1)
    last = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([z, y, first], 1), np.stack([z, y, last], 1)])
    return np.unique(ends, axis=0)


def _hull(points: Points) -> Points:
    """The vertices of the convex hull of points (n, d), also where they lie in a plane or on a line."""
    if len(points) <= 64:
        return points
    centred = points - points.mean(axis=0)
    _, strengths, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int((strengths > 1e-9 * strengths[0]).sum())
    flat = centred @ axes[:rank].T
    if rank == 1:
        return points[[int(flat[:, 0].argmin()), int(flat[:, 0].argmax())]]
    from scipy.spatial import ConvexHull  # slow to import; small lesions do without

    vertices: NDArray[np.int32] = ConvexHull(flat).vertices
    return points[vertices]


def largest_squared_distance(points: Points, others: Points, at_once: int = 512) -> float:
    """The largest squared distance between one of `points` and one of `others`, both (n, 3) in mm."""
    largest = 0.0
    for start in range(0, len(points), at_once):
        difference = points[start : start + at_once, None, :] - others[None, :, :]
        largest = max(largest, float(np.einsum("ijk,ijk->ij", difference, difference).max()))
    return largest


def _length_and_width(points: Points) -> tuple[float, float]:
    vertices: Any = _hull(points)
    difference = vertices[:, None, :] - vertices[None, :, :]
    squared = np.einsum("ijk,ijk->ij", difference, difference)
    if squared.max() == 0:
        return 0.0, 0.0
    first, second = np.nonzero(np.triu(squared >= squared.max() * (1 - 1e-9)))
    length = float(np.sqrt(squared.max()))
    along = (vertices[second] - vertices[first]) / length
    across = np.stack([-along[:, 1], along[:, 0]])
    return length, float(np.ptp(vertices @ across, axis=0).max())
