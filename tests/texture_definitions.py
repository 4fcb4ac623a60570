"""The texture features written out as the standard defines them: dictionaries, plain loops, no array code.

Slow on purpose. A region is a dictionary from voxel (z, y, x) to grey level; matrices are dictionaries from
(i, j) to counts. Nothing here is shared with the library.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np

Voxel = tuple[int, int, int]
Grey = dict[Voxel, int]
Matrix = Counter

ALL = [step for step in product((-1, 0, 1), repeat=3) if step != (0, 0, 0)]
FLAT = [step for step in ALL if step[0] == 0]


def region(array: np.ndarray) -> Grey:
    return {tuple(map(int, place)): int(array[tuple(place)]) for place in np.argwhere(array > 0)}


def slices(grey: Grey) -> list[Grey]:
    return [
        {place: level for place, level in grey.items() if place[0] == z}
        for z in sorted({place[0] for place in grey})
    ]


def shifted(place: Voxel, step: Voxel, times: int = 1) -> Voxel:
    return tuple(a + times * b for a, b in zip(place, step, strict=True))


def half(steps: list[Voxel]) -> list[Voxel]:
    return [step for step in steps if step > (0, 0, 0)]


def cooccurrences(grey: Grey, step: Voxel) -> Matrix:
    """Symmetric: each pair is counted from both of its ends."""
    matrix: Matrix = Counter()
    for place, level in grey.items():
        other = grey.get(shifted(place, step))
        if other is not None:
            matrix[level, other] += 1
            matrix[other, level] += 1
    return matrix


def runs(grey: Grey, step: Voxel) -> Matrix:
    matrix: Matrix = Counter()
    for place, level in grey.items():
        if grey.get(shifted(place, step, -1)) == level:
            continue
        length = 1
        while grey.get(shifted(place, step, length)) == level:
            length += 1
        matrix[level, length] += 1
    return matrix


def zones(grey: Grey, steps: list[Voxel]) -> list[list[Voxel]]:
    left = set(grey)
    found = []
    while left:
        zone = [left.pop()]
        for place in zone:
            for step in steps:
                other = shifted(place, step)
                if other in left and grey[other] == grey[place]:
                    left.remove(other)
                    zone.append(other)
        found.append(zone)
    return found


def distances(mask: np.ndarray, volume: bool) -> dict[Voxel, int]:
    """By eroding until nothing is left, as the standard describes it."""
    steps = [s for s in (ALL if volume else FLAT) if sum(map(abs, s)) == 1]
    left = {tuple(map(int, place)) for place in np.argwhere(mask)}
    result = dict.fromkeys(left, 0)
    while left:
        for place in left:
            result[place] += 1
        left = {place for place in left if all(shifted(place, step) in left for step in steps)}
    return result


def zone_sizes(grey: Grey, steps: list[Voxel]) -> Matrix:
    return Counter((grey[zone[0]], len(zone)) for zone in zones(grey, steps))


def zone_distances(grey: Grey, steps: list[Voxel], far: dict[Voxel, int]) -> Matrix:
    return Counter((grey[zone[0]], min(far[place] for place in zone)) for zone in zones(grey, steps))


def dependences(grey: Grey, steps: list[Voxel]) -> Matrix:
    return Counter(
        (level, 1 + sum(grey.get(shifted(place, step)) == level for step in steps))
        for place, level in grey.items()
    )


def tone_differences(grey: Grey, steps: list[Voxel]) -> dict[int, list[float]]:
    """Per level, |i - mean of the neighbours| of each voxel that has one."""
    result: dict[int, list[float]] = {}
    for place, level in grey.items():
        around = [grey[shifted(place, step)] for step in steps if shifted(place, step) in grey]
        if around:
            result.setdefault(level, []).append(abs(level - sum(around) / len(around)))
    return result


def entropy(shares: list[float]) -> float:
    return -sum(p * math.log2(p) for p in shares if p > 0)


def cooccurrence_values(matrix: Matrix, number: int) -> list[float]:
    total = sum(matrix.values())
    if total == 0:
        return [math.nan] * 25
    p = {key: count / total for key, count in matrix.items()}
    row: dict[int, float] = {}
    difference: dict[int, float] = {}
    summed: dict[int, float] = {}
    for (i, j), share in p.items():
        row[i] = row.get(i, 0) + share
        difference[abs(i - j)] = difference.get(abs(i - j), 0) + share
        summed[i + j] = summed.get(i + j, 0) + share
    mu = sum(i * share for (i, _), share in p.items())
    variance = sum((i - mu) ** 2 * share for (i, _), share in p.items())
    away = sum(k * share for k, share in difference.items())
    up = sum(k * share for k, share in summed.items())
    hxy = entropy(list(p.values()))
    hx = entropy(list(row.values()))
    hxy1 = -sum(share * math.log2(row[i] * row[j]) for (i, j), share in p.items())
    hxy2 = -sum(a * b * math.log2(a * b) for a in row.values() for b in row.values())
    several = len(row) > 1
    return [
        max(p.values()),
        mu,
        variance,
        hxy,
        away,
        sum((k - away) ** 2 * share for k, share in difference.items()),
        entropy(list(difference.values())),
        up,
        sum((k - up) ** 2 * share for k, share in summed.items()),
        entropy(list(summed.values())),
        sum(share**2 for share in p.values()),
        sum((i - j) ** 2 * share for (i, j), share in p.items()),
        sum(abs(i - j) * share for (i, j), share in p.items()),
        sum(share / (1 + abs(i - j)) for (i, j), share in p.items()),
        sum(share / (1 + abs(i - j) / number) for (i, j), share in p.items()),
        sum(share / (1 + (i - j) ** 2) for (i, j), share in p.items()),
        sum(share / (1 + (i - j) ** 2 / number**2) for (i, j), share in p.items()),
        2 * sum(share / (i - j) ** 2 for (i, j), share in p.items() if j > i),
        sum((i - mu) * (j - mu) * share for (i, j), share in p.items()) / variance if several else math.nan,
        sum(i * j * share for (i, j), share in p.items()),
        sum((i + j - 2 * mu) ** 2 * share for (i, j), share in p.items()),
        sum((i + j - 2 * mu) ** 3 * share for (i, j), share in p.items()),
        sum((i + j - 2 * mu) ** 4 * share for (i, j), share in p.items()),
        (hxy - hxy1) / hx if several else math.nan,
        math.sqrt(max(0.0, 1 - math.exp(-2 * (hxy2 - hxy)))),
    ]


def emphasis_values(matrix: Matrix, voxels: int) -> list[float]:
    """The sixteen features of runs, zones and dependences, then the energy."""
    total = sum(matrix.values())
    if total == 0:
        return [math.nan] * 17
    row: Counter = Counter()
    column: Counter = Counter()
    for (i, j), count in matrix.items():
        row[i] += count
        column[j] += count
    mean_i = sum(i * count for i, count in row.items()) / total
    mean_j = sum(j * count for j, count in column.items()) / total
    shares = [count / total for count in matrix.values()]
    return [
        sum(count / j**2 for j, count in column.items()) / total,
        sum(count * j**2 for j, count in column.items()) / total,
        sum(count / i**2 for i, count in row.items()) / total,
        sum(count * i**2 for i, count in row.items()) / total,
        sum(count / (i**2 * j**2) for (i, j), count in matrix.items()) / total,
        sum(count * i**2 / j**2 for (i, j), count in matrix.items()) / total,
        sum(count * j**2 / i**2 for (i, j), count in matrix.items()) / total,
        sum(count * i**2 * j**2 for (i, j), count in matrix.items()) / total,
        sum(count**2 for count in row.values()) / total,
        sum(count**2 for count in row.values()) / total**2,
        sum(count**2 for count in column.values()) / total,
        sum(count**2 for count in column.values()) / total**2,
        total / voxels,
        sum((i - mean_i) ** 2 * count for i, count in row.items()) / total,
        sum((j - mean_j) ** 2 * count for j, count in column.items()) / total,
        entropy(shares),
        sum(share**2 for share in shares),
    ]


def tone_values(found: dict[int, list[float]]) -> list[float]:
    number = sum(len(each) for each in found.values())
    if number == 0:
        return [math.nan] * 5
    p = {i: len(each) / number for i, each in found.items()}
    s = {i: sum(each) for i, each in found.items()}
    weighted = sum(p[i] * s[i] for i in p)
    spread = sum(p[i] * p[j] * (i - j) ** 2 for i in p for j in p)
    busy = sum(abs(i * len(found[i]) - j * len(found[j])) for i in p for j in p) / number
    complexity = sum(abs(i - j) * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j]) for i in p for j in p)
    strength = sum((p[i] + p[j]) * (i - j) ** 2 for i in p for j in p)
    several = len(p) > 1
    return [
        min(1e6, 1 / weighted) if weighted > 0 else 1e6,
        spread / (len(p) * (len(p) - 1)) * sum(s.values()) / number if several else 0.0,
        (weighted / busy if busy > 0 else math.nan) if several else 0.0,
        complexity / number,
        strength / sum(s.values()) if sum(s.values()) > 0 else 0.0,
    ]


def mean(rows: list[list[float]]) -> list[float]:
    """Feature by feature over the rows that have one."""
    result = []
    for values in zip(*rows, strict=True):
        known = [value for value in values if not math.isnan(value)]
        result.append(sum(known) / len(known) if known else math.nan)
    return result


def merged(matrices: list[Matrix]) -> Matrix:
    return sum(matrices, Counter())


def directional(array: np.ndarray, number: int, aggregation: str) -> tuple[list[float], list[float]]:
    """Co-occurrence (25) and run length (16) values under one of the six aggregations."""
    grey = region(array)
    dimension, _, how = aggregation.rpartition("_")
    parts = [grey] if dimension == "3D" else slices(grey)
    steps = half(ALL if dimension == "3D" else FLAT)
    table = [[(cooccurrences(part, step), runs(part, step), len(part)) for step in steps] for part in parts]
    if dimension == "2_5D":
        table = [[_together(list(column)) for column in zip(*table, strict=True)]]
    if how == "comb":
        table = [[_together(row)] for row in table]
    cells = [cell for row in table for cell in row]
    return (
        mean([cooccurrence_values(pairs, number) for pairs, _, _ in cells]),
        mean([emphasis_values(lengths, voxels)[:16] for _, lengths, voxels in cells]),
    )


def _together(cells: list[tuple[Matrix, Matrix, int]]) -> tuple[Matrix, Matrix, int]:
    pairs, lengths, voxels = zip(*cells, strict=True)
    return merged(list(pairs)), merged(list(lengths)), sum(voxels)


def undirected(array: np.ndarray, mask: np.ndarray, dimension: str) -> dict[str, list[float]]:
    """Values of the four families without directions, under one of the three dimensions."""
    grey = region(array)
    parts = [grey] if dimension == "3D" else slices(grey)
    steps = ALL if dimension == "3D" else FLAT
    far = distances(mask, dimension == "3D")
    sizes = [zone_sizes(part, steps) for part in parts]
    depths = [zone_distances(part, steps, far) for part in parts]
    alike = [dependences(part, steps) for part in parts]
    tones = [tone_differences(part, steps) for part in parts]
    counts = [len(part) for part in parts]
    if dimension == "2_5D":
        sizes, depths, alike = [merged(sizes)], [merged(depths)], [merged(alike)]
        together: dict[int, list[float]] = {}
        for found in tones:
            for level, each in found.items():
                together.setdefault(level, []).extend(each)
        tones = [together]
        counts = [len(grey)]
    return {
        "glszm": mean([emphasis_values(m, n)[:16] for m, n in zip(sizes, counts, strict=True)]),
        "gldzm": mean([emphasis_values(m, n)[:16] for m, n in zip(depths, counts, strict=True)]),
        "ngtdm": mean([tone_values(found) for found in tones]),
        "ngldm": mean([emphasis_values(m, n) for m, n in zip(alike, counts, strict=True)]),
    }
