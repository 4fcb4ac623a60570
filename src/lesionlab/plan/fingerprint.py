"""The fingerprint: what nnU-Net's planner wants to know of a data set, gathered case by case.

nnU-Net draws the same number of foreground voxels from every case, with replacement, and takes statistics of
the draws. Here every foreground voxel counts once with the weight 1 / (voxels of its case), which is
what those draws estimate, exactly and without drawing.

Memory does not grow with the number of voxels. They wait on disk, and percentiles are found in two readings.
A float32 as an unsigned integer of the same order has two halves of 16 bits. A table of the weights over the
upper half tells in which of its 65,536 bins a percentile lies, and one over the lower half, of the values in
that bin, the very value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import DatasetError

PERCENTILES = {"percentile_00_5": 0.005, "median": 0.5, "percentile_99_5": 0.995}
HALF = 1 << 16
CHUNK = 1 << 20
"""Values read from disk at a time."""
ROUNDING = 1e-11
"""Relative error that sums of weights may have."""

Floats = NDArray[np.float32]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Foreground:
    """One channel's foreground values in one case: their moments, and where they lie on disk."""

    size: int
    mean: float
    variance: float
    low: float
    high: float
    file: IO[bytes]
    offset: int

    def pieces(self) -> Iterator[Floats]:
        """The values, some at a time."""
        for start in range(0, self.size, CHUNK):
            self.file.seek(self.offset + 4 * start)
            count = min(CHUNK, self.size - start)
            yield np.frombuffer(self.file.read(4 * count), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """One case: cropped shape and spacing (z, y, x), share kept, foreground by channel (none: no lesion)."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    kept: float
    foreground: tuple[Foreground, ...]


class Fingerprint:
    """The fingerprint of cases that come one at a time; a context, because it keeps a file open.

    The foreground values wait in `folder`, 4 bytes for each voxel and channel, in a file without a name that
    goes with the context.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self.cases: dict[str, CaseFacts] = {}

    def __enter__(self) -> Fingerprint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(
        self, case_id: str, channels: Sequence[NDArray[Any]], truth: NDArray[Any], spacing: tuple[float, ...]
    ) -> None:
        """Take in channel arrays and integer labels of one shape (z, y, x).

        The crop is the box of voxels that are not zero in some channel, as in nnU-Net; an all-zero image
        keeps its shape.
        """
        nonzero = channels[0] != 0
        for channel in channels[1:]:
            nonzero |= channel != 0
        box = foreground_box(nonzero)
        shape = truth.shape if box is None else tuple(s.stop - s.start for s in box)
        inside = truth > 0
        foreground: tuple[Foreground, ...] = ()
        if inside.any():
            foreground = tuple(
                self._kept(channel[inside].astype(np.float32, copy=False)) for channel in channels
            )
        self.cases[case_id] = CaseFacts(shape, spacing, float(np.prod(shape) / truth.size), foreground)

    def result(self, case_ids: Iterable[str] | None = None) -> dict[str, Any]:
        """nnU-Net's dataset_fingerprint.json of these cases (all where None) as a dict of JSON values.

        Raises DatasetError when no case has any foreground: there is nothing to learn from.
        """
        cases = list(self.cases.values()) if case_ids is None else [self.cases[name] for name in case_ids]
        present = [case.foreground for case in cases if case.foreground]
        if not present:
            found = f"{len(cases)} cases without any lesion"
            raise DatasetError("data set", found, "at least one with a lesion")
        return {
            "spacings": [list(case.spacing) for case in cases],
            "shapes_after_crop": [list(case.shape) for case in cases],
            "foreground_intensity_properties_per_channel": {
                str(number): _statistics(channel) for number, channel in enumerate(zip(*present, strict=True))
            },
            "median_relative_size_after_cropping": float(np.median([case.kept for case in cases])),
        }

    def _kept(self, values: Floats) -> Foreground:
        offset = self._file.seek(0, 2)
        self._file.write(values.tobytes())
        moments = float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64))
        return Foreground(values.size, *moments, float(values.min()), float(values.max()), self._file, offset)


def _statistics(cases: Sequence[Foreground]) -> dict[str, float]:
    """Statistics over cases of one channel, each case with the weight 1."""
    means, variances = np.array([case.mean for case in cases]), np.array([case.variance for case in cases])
    found = {
        "mean": float(means.mean()),
        # the variance within the cases and that between them
        "std": float(np.sqrt(variances.mean() + means.var())),
        "min": min(case.low for case in cases),
        "max": max(case.high for case in cases),
    }
    upper = np.zeros(HALF)
    for case in cases:
        for values in case.pieces():
            _count(upper, _ordered(values) >> 16, case.size)
    reached = np.cumsum(upper)
    wanted = {name: share * len(cases) for name, share in PERCENTILES.items()}
    bins = {name: _first_reaching(reached, weight) for name, weight in wanted.items()}
    lower = _lower_halves(cases, set(bins.values()))
    for name, number in bins.items():
        before = reached[number - 1] if number else 0.0
        found[name] = _value(number << 16 | _first_reaching(before + np.cumsum(lower[number]), wanted[name]))
    return found


def _lower_halves(cases: Sequence[Foreground], bins: set[int]) -> dict[int, Table]:
    """For each bin of the upper half, the weights of the lower halves of the values in it."""
    found = {number: np.zeros(HALF) for number in bins}
    for case in cases:
        for values in case.pieces():
            keys = _ordered(values)
            upper = keys >> 16
            for number, table in found.items():
                lower = keys[upper == number] & (HALF - 1)
                if lower.size:
                    _count(table, lower, case.size)
    return found


def _count(table: Table, places: NDArray[np.integer[Any]], size: int) -> None:
    """Add 1 / size to the table for each of these places (at least one); only their range is touched."""
    low = places.min()
    counts = np.bincount(places - low)
    table[low : low + counts.size] += counts / size


def _ordered(values: Floats) -> NDArray[np.uint32]:
    """Float32 values as unsigned integers of the same order; -0.0 counts as 0.0."""
    bits = (values + np.float32(0)).view(np.uint32)
    negative = bits >> 31 == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def _value(key: int) -> float:
    """The float32 value that `_ordered` gave this integer."""
    bits = key ^ (1 << 31) if key >> 31 else key ^ 0xFFFFFFFF
    return float(np.asarray([bits], dtype=np.uint32).view(np.float32)[0])


def _first_reaching(cumulated: Table, weight: float) -> int:
    """The first place where the cumulated weights reach `weight`, give or take their rounding."""
    place = int(np.searchsorted(cumulated, weight * (1 - ROUNDING)))
    # a sum that falls short all the same ends at the last place that adds anything
    return min(place, int(np.searchsorted(cumulated, cumulated[-1])))
