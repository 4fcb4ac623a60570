"""Leaks: cases that show the same image, and what to do about them before a data set is split.

Two copies of one image under two patients put a case into training and validation at once; one image under
two labels teaches both. Copies within a patient stay in one fold and do no harm. What a case looks like is a
perceptual hash of its reference channel:

1. A slice is looked at as it is; a volume as the means of its halves along z, y and x.
2. Each view is resized to 64 x 64 (`core/fit.py`), so that size and spacing do not matter.
3. Its cosine transform is cut to frequencies 5 to 19 along y or x (none above 19): the lower ones are the
   build of a body and the beam of a probe, alike in all patients; the higher ones do not survive compression.
4. A bit each: the coefficient's sign. Brightness and contrast do not change it.

The distance of two cases is the share of bits that differ, 0.5 for unrelated images. On BUS-BRA (1,127 images
of 638 patients) the nearest two images are 0.325 apart; copies at a third of the size, at 1.3 times the
brightness, with gamma 0.7, JPEG at quality 40 or noise of 15 grey levels are at most 0.17 away, copies cut by
1 % at every edge at most 0.15. Of volumes, the nearest two of 36 sarcoma PETs are 0.43 apart, of synthetic
torsos, all of one build, 0.195; brighter or noisier copies are at most 0.04 away, those cut off at SUVbw 8 at
most 0.14, at half the resolution mostly below 0.16. The limits lie between. A copy cut by 3 % or turned is
not found. The method follows the idea of the DCT hash (Zauner, 2010, Implementation
and benchmarking of perceptual image hash functions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import DatasetError
from lesionlab.core.fit import fit
from lesionlab.core.volume import Geometry

Bits = NDArray[np.int8]
SIDE: Final = 64
LOWEST, HIGHEST = 5, 19
SAME: Final = 0.2
"""Pictures nearer than this show the same image."""
SAME_VOLUME: Final = 0.16
"""The same for volumes."""
PICTURE_BITS: Final = (HIGHEST + 1) ** 2 - LOWEST**2
ROWS: Final = 1024
"""Cases that are compared with all others at once."""
NAMED: Final = 4
"""Pairs that an error names."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is remembered of a case: name, patient, labels in its truth, diagnosis, hash.

    `place` is where the pixels of its raw file lie in the patient where its slices were resized.
    """

    name: str
    patient: str
    labels: frozenset[int]
    diagnosis: str
    bits: Bits
    spacing_known: bool = True
    place: Geometry | None = None


def places_of(cases: Sequence[Seen]) -> dict[str, Any]:
    """What cases.json keeps of sizes: cases without a known spacing, and the place of resized ones."""
    return {
        "spacing_unknown": [one.name for one in cases if not one.spacing_known],
        "places": {one.name: asdict(one.place) for one in cases if one.place is not None},
    }


@dataclass(frozen=True, slots=True)
class Twin:
    """Two cases that look the same; `leak` where their patients or what is said of them differ."""

    first: str
    second: str
    distance: float
    same_patient: bool
    contradict: bool

    @property
    def leak(self) -> bool:
        """True where the pair would leak between folds, or teaches two things of one image."""
        return self.contradict or not self.same_patient

    def __str__(self) -> str:
        why = "two labels" if self.contradict else "one patient" if self.same_patient else "two patients"
        return f"{self.first} = {self.second} ({why})"


@dataclass(frozen=True)
class Settled:
    """What came of twins: the cases to leave out, and the patients as folds are to know them."""

    dropped: tuple[str, ...]
    patients: dict[str, str]


def look(array: NDArray[Any]) -> Bits:
    """The perceptual hash of an image (z, y, x): 375 bits as -1 and 1, or 2,250 for more than one slice.

    A flat view has zeros for bits, so that blank images resemble nothing.
    """
    if array.shape[0] == 1:
        return _bits(array[0])
    halves = [half for axis in range(3) for half in _halves(array, axis)]
    return np.concatenate([_bits(view) for view in halves])


def _halves(array: NDArray[Any], axis: int) -> list[NDArray[np.float64]]:
    """The means of both halves of a volume along an axis."""
    return [half.mean(axis=axis, dtype=np.float64) for half in np.array_split(array, 2, axis=axis)]


def _bits(view: NDArray[Any]) -> Bits:
    waves = _cosines() @ fit(view, (SIDE, SIDE)).astype(np.float64) @ _cosines().T
    steps = np.arange(HIGHEST + 1)
    chosen = waves[np.maximum.outer(steps, steps) >= LOWEST]
    rounding = 1e-6 * float(np.abs(view).max(initial=0.0)) * SIDE
    return np.where(np.abs(chosen) > rounding, np.sign(chosen), 0).astype(np.int8)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float64]:
    """The orthonormal cosine transform (DCT-II) of SIDE samples up to HIGHEST, as a matrix."""
    frequencies, samples = np.arange(HIGHEST + 1)[:, None], np.arange(SIDE) + 0.5
    scale = np.where(frequencies == 0, 1.0, 2.0) / SIDE
    return np.asarray(np.sqrt(scale) * np.cos(np.pi / SIDE * frequencies * samples))


def find_twins(seen: Sequence[Seen], same: float | None = None) -> list[Twin]:
    """Every two cases nearer than `same`, in the cases' order; slices are not compared with volumes.

    By default `same` is SAME for pictures and SAME_VOLUME for volumes.

    The time grows with the square of the number of cases: 1,127 take a tenth of a second, 10,000 ten.
    """
    found = []
    for length in sorted({one.bits.size for one in seen}):
        group = [one for one in seen if one.bits.size == length]
        limit = same if same is not None else SAME if length == PICTURE_BITS else SAME_VOLUME
        bits = np.stack([one.bits for one in group]).astype(np.float32)
        for start in range(0, len(group), ROWS):
            distance = 0.5 - bits[start : start + ROWS] @ bits.T / (2 * length)
            rows, columns = np.nonzero(distance < limit)
            for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
                if row < column:
                    found.append(_twin(group[row], group[column], float(distance[row - start, column])))
    return found


def _twin(first: Seen, second: Seen, distance: float) -> Twin:
    same = first.patient == second.patient
    contradict = (first.labels, first.diagnosis) != (second.labels, second.diagnosis)
    return Twin(first.name, second.name, round(distance, 4), same, contradict)


def settle(
    seen: Sequence[Seen], twins: Sequence[Twin], how: Literal["refuse", "drop", "group"], subject: object
) -> Settled:
    """What a recipe's `training.duplicates` makes of twins.

    `drop` keeps the first of cases that look the same, and none where they are said to show different things;
    `group` makes one patient of all whose images look the same. Without a leak everything stays, whatever
    the setting. Raises DatasetError, naming pairs, for `refuse` with a leak, and for `group` with one image
    under two labels, which no grouping heals.
    """
    patients = {one.name: one.patient for one in seen}
    leaks = [twin for twin in twins if twin.leak]
    if not leaks:
        return Settled((), patients)
    if how == "refuse":
        raise DatasetError(
            subject, told(leaks), "training.duplicates (or --duplicates) 'drop' or 'group' to say what to do"
        )
    if how == "drop":
        return Settled(_superfluous(seen, leaks), patients)
    contradictions = [twin for twin in leaks if twin.contradict]
    if contradictions:
        raise DatasetError(subject, told(contradictions), "training.duplicates 'drop', or other labels")
    joined = joined_names([(patients[t.first], patients[t.second]) for t in leaks])
    return Settled((), {name: joined.get(patient, patient) for name, patient in patients.items()})


def told(twins: Sequence[Twin]) -> str:
    """Pairs of cases in words, the first few by name."""
    named = ", ".join(str(twin) for twin in twins[:NAMED])
    rest = f" and {len(twins) - NAMED} more" if len(twins) > NAMED else ""
    return f"{len(twins)} pair{'s' if len(twins) > 1 else ''} of cases that look the same: {named}{rest}"


def _superfluous(seen: Sequence[Seen], leaks: Sequence[Twin]) -> tuple[str, ...]:
    groups = joined_names([(twin.first, twin.second) for twin in leaks])
    wrong = {groups[twin.first] for twin in leaks if twin.contradict}
    kept: set[str] = set()
    out = []
    for one in seen:
        group = groups.get(one.name)
        if group is None:
            continue
        if group in kept or group in wrong:
            out.append(one.name)
        kept.add(group)
    return tuple(out)


def joined_names(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Each name in the pairs with the name of its group, the smallest of all that hang together."""
    group: dict[str, str] = {}
    for first, second in pairs:
        a, b = (group.setdefault(name, name) for name in (first, second))
        low, high = min(a, b), max(a, b)
        for name, of in group.items():
            if of == high:
                group[name] = low
    return group
