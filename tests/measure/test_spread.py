from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from lesionlab.measure.spread import largest_distance, largest_edge_distance


def test_fewer_than_two_lesions_have_no_distance():
    assert math.isnan(largest_distance(np.empty((0, 3))))
    assert math.isnan(largest_distance(np.array([[1.0, 2.0, 3.0]])))


def test_the_farthest_two_count():
    points = np.random.default_rng(3).normal(size=(40, 3)) * 100
    assert largest_distance(points) == pytest.approx(pdist(points).max())
    assert largest_distance(np.array([[0.0, 0, 0], [3, 4, 0]])) == 5.0


def test_the_farthest_points_of_different_lesions_count():
    random = np.random.default_rng(4)
    for lesions in (2, 5, 30):
        middles, sizes = random.normal(size=(lesions, 3)) * 50, random.uniform(0, 40, lesions)
        hulls = [m + s * random.normal(size=(8, 3)) for m, s in zip(middles, sizes, strict=True)]
        expected = max(cdist(a, b).max() for k, a in enumerate(hulls) for b in hulls[k + 1 :])
        assert largest_edge_distance(hulls) == pytest.approx(expected)
    assert math.isnan(largest_edge_distance(hulls[:1]))


def test_thousands_of_fragments_need_no_table_of_their_pairs():
    hulls = [point[None] for point in np.random.default_rng(5).normal(size=(4000, 3)) * 100]
    tracemalloc.start()
    try:
        found = largest_edge_distance(hulls)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(largest_distance(np.concatenate(hulls)))
    assert most < 10_000_000
