"""Which lesion of one timepoint is which of the other, once both lie in the same space.

Only places are compared here. What a lesion measures, and what its change means, belongs to `response` and
`percist`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.response import Kind, Match
from lesionlab.core.volume import Volume

WITHIN_MM: Final = 15.0
RULE: Final = (
    "lesions of both timepoints that share a voxel belong together (one to several: split; several to one: "
    "merged; several to several: regrouped); of the others the nearest by centroid pair up one to one within "
    "{within:g} mm; what then has no partner has vanished or is new"
)


@dataclass(frozen=True, slots=True)
class _Side:
    """One timepoint's lesion voxels: number and world position of each, and the grid to look them up in."""

    labels: Volume
    numbers: NDArray[np.int64]
    places: NDArray[np.float64]

    def centroid(self, lesions: tuple[int, ...]) -> NDArray[np.float64]:
        return np.asarray(self.places[np.isin(self.numbers, lesions)].mean(axis=0), dtype=np.float64)

    def at(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        """The lesion number of the voxel around each place, 0 outside every lesion and the grid."""
        grid = self.labels.geometry
        index = np.floor(grid.to_index(places) + 0.5).astype(np.int64)
        held = ((index >= 0) & (index < grid.shape)).all(axis=1)
        found = np.zeros(len(places), dtype=np.int64)
        found[held] = self.labels.array[tuple(index[held].T)]
        return found


def match_lesions(baseline: Volume, followup: Volume, within_mm: float = WITHIN_MM) -> tuple[Match, ...]:
    """Match the lesions of two label volumes (numbers from 1, 0 = none) in one world; RULE says how.

    The grids may differ: an overlap is a voxel centre of one side inside a voxel of the other. Matches with a
    baseline lesion come first, in the order of its number, then new ones. Two empty sides give none.
    """
    before, after = _side(baseline), _side(followup)
    shared = _shared(before, after)
    groups = _groups(before, after, shared)
    alone = [g for g in groups if not g[0] or not g[1]]
    groups = [g for g in groups if g[0] and g[1]]
    groups += _by_distance(before, after, alone, within_mm)
    groups.sort(key=lambda g: (not g[0], min(g[0] or g[1])))
    return tuple(_match(before, after, group, shared) for group in groups)


_Group = tuple[tuple[int, ...], tuple[int, ...]]


def _side(labels: Volume) -> _Side:
    box = foreground_box(labels.array)
    if box is None:
        return _Side(labels, np.zeros(0, np.int64), np.zeros((0, 3)))
    inner = labels.array[box]
    index = np.argwhere(inner)
    corner = np.array([s.start for s in box])
    numbers = inner[tuple(index.T)].astype(np.int64)
    return _Side(labels, numbers, labels.geometry.to_world(index + corner))


def _shared(before: _Side, after: _Side) -> dict[tuple[int, int], float]:
    """The common volume in ml of each pair of lesions that have one, by the side that sees more of it."""
    common: dict[tuple[int, int], float] = {}
    for this, other, turned in ((before, after, False), (after, before, True)):
        there = other.at(this.places)
        pairs, counts = np.unique(np.stack([this.numbers, there])[:, there > 0], axis=1, return_counts=True)
        for (own, its), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            key = (its, own) if turned else (own, its)
            common[key] = max(common.get(key, 0.0), count * this.labels.geometry.voxel_ml)
    return common


def _groups(before: _Side, after: _Side, shared: Mapping[tuple[int, int], float]) -> list[_Group]:
    """Lesions that hang together by overlaps; those without any stand alone."""
    groups: list[tuple[set[int], set[int]]] = []
    groups += [({int(n)}, set()) for n in np.unique(before.numbers)]
    groups += [(set(), {int(n)}) for n in np.unique(after.numbers)]
    for first, second in shared:
        touched = [g for g in groups if first in g[0] or second in g[1]]
        groups = [g for g in groups if g not in touched]
        groups.append((set().union(*(g[0] for g in touched)), set().union(*(g[1] for g in touched))))
    return [(tuple(sorted(g[0])), tuple(sorted(g[1]))) for g in groups]


def _by_distance(before: _Side, after: _Side, alone: list[_Group], within_mm: float) -> list[_Group]:
    """The lesions without overlap: pairs by ascending distance, one to one, and what is left over."""
    lost = [g[0] for g in alone if g[0]]
    found = [g[1] for g in alone if g[1]]
    if lost and found:
        here = np.array([before.centroid(lesions) for lesions in lost])
        there = np.array([after.centroid(lesions) for lesions in found])
        distances = np.linalg.norm(here[:, None] - there[None], axis=2)
    else:
        distances = np.zeros((len(lost), len(found)))
    pairs: list[tuple[int, int]] = []
    for k in np.argsort(distances, axis=None, kind="stable"):
        i, j = (int(n) for n in np.unravel_index(int(k), distances.shape))
        if distances[i, j] > within_mm:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    groups: list[_Group] = [(lost[i], found[j]) for i, j in pairs]
    groups += [(lesions, ()) for i, lesions in enumerate(lost) if all(i != a for a, _ in pairs)]
    groups += [((), lesions) for j, lesions in enumerate(found) if all(j != b for _, b in pairs)]
    return groups


def _match(before: _Side, after: _Side, group: _Group, shared: Mapping[tuple[int, int], float]) -> Match:
    old, new = group
    volume = sum(ml for (a, b), ml in shared.items() if a in old and b in new)
    distance = float("nan")
    if old and new:
        distance = float(np.linalg.norm(before.centroid(old) - after.centroid(new)))
    return Match(_kind(len(old), len(new)), old, new, float(volume), distance)


def _kind(before: int, after: int) -> Kind:
    if not before or not after:
        return "vanished" if before else "new"
    if before == 1:
        return "matched" if after == 1 else "split"
    return "merged" if after == 1 else "regrouped"
