"""How far a patient's lesions lie apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


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
