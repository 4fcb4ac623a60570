from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from lesionlab.measure.spread import largest_distance


def test_fewer_than_two_lesions_have_no_distance():
    assert math.isnan(largest_distance(np.empty((0, 3))))
    assert math.isnan(largest_distance(np.array([[1.0, 2.0, 3.0]])))


def test_the_farthest_two_count():
    points = np.random.default_rng(3).normal(size=(40, 3)) * 100
    assert largest_distance(points) == pytest.approx(pdist(points).max())
    assert largest_distance(np.array([[0.0, 0, 0], [3, 4, 0]])) == 5.0
