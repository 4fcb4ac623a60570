"""How far a patient's lesions lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionlab.measure.shape import Points, largest_squared_distance


def largest_distance(centroids_mm: NDArray[np.float64]) -> float:
    """Dmax: the largest distance in mm between two lesion centroids (n, 3); NaN below two lesions.

    The distance between the two lesions that lie farthest apart, which one lesion alone does not have
    (Wang et al., BMC Cancer 2023, doi 10.1186/s12885-023-11333-z); measured between centroids.
    """
    if len(centroids_mm) < 2:
        return math.nan
    largest = 0.0
    for k in range(len(centroids_mm) - 1):
        squared = ((centroids_mm[k + 1 :] - centroids_mm[k]) ** 2).sum(axis=1)
        largest = max(largest, float(squared.max()))
    return math.sqrt(largest)


def largest_edge_distance(hulls_mm: Sequence[Points]) -> float:
    """Dmax from edge to edge: the largest distance in mm between points of two different lesions.

    Each lesion is given by the vertices of its convex hull (n, 3), where the farthest points lie. NaN below
    two lesions. Only pairs of lesions are tried that can give more than those before; the memory grows with
    the number of lesions and not with that of pairs.
    """
    if len(hulls_mm) < 2:
        return math.nan
    centres = np.array([points.mean(axis=0) for points in hulls_mm])
    radii = np.array(
        [
            np.linalg.norm(points - centre, axis=1).max()
            for points, centre in zip(hulls_mm, centres, strict=True)
        ]
    )
    # the outermost lesions first: what they give rules out nearly all other pairs
    order = np.argsort(-np.linalg.norm(centres - centres.mean(axis=0), axis=1) - radii, kind="stable")
    centres, radii = centres[order], radii[order]
    largest = 0.0
    for k in range(len(order) - 1):
        bounds = np.linalg.norm(centres[k + 1 :] - centres[k], axis=1) + radii[k + 1 :] + radii[k]
        worth = np.flatnonzero(bounds > largest)
        for j in worth[np.argsort(-bounds[worth])]:
            if bounds[j] <= largest:
                break
            between = largest_squared_distance(hulls_mm[order[k]], hulls_mm[order[k + 1 + j]])
            largest = max(largest, math.sqrt(between))
    return largest
