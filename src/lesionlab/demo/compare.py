"""Found against known: what a method's lesions make of those whose answer is certain.

Rules: a known lesion is found when a measured one shares a voxel with it. A measured lesion belongs to the
known one with which it shares most voxels; volumes of several that belong to one add up, and the highest
SUVmax counts. A lesion that is found only by measured ones which belong to others has no measurement of its
own. A measured lesion that shares no voxel with a known one is a false positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.grid import require_same_grid
from lesionlab.core.results import LesionTable
from lesionlab.core.volume import Volume
from lesionlab.demo.cohort import Answer

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class LesionMatch:
    """One known lesion and what was found of it; NaN where nothing was measured."""

    patient: str
    known: Answer
    found: bool
    found_ml: float
    found_suvmax: float

    @property
    def mtv_error_percent(self) -> float:
        """(found - known) / known volume, in percent."""
        return 100.0 * (self.found_ml / self.known.volume_ml - 1.0)

    @property
    def suvmax_error_percent(self) -> float:
        """(found SUVmax - true SUVbw) / true SUVbw, in percent; blur alone makes it negative."""
        return 100.0 * (self.found_suvmax / self.known.suv - 1.0)


@dataclass(frozen=True, slots=True)
class PatientMatch:
    """One patient: the known lesions, false positives, and agreement of the whole mask.

    `dice` is NaN when the patient has no lesion; volumes are in ml, `false_ml` that of the false positives.
    """

    patient: str
    lesions: tuple[LesionMatch, ...]
    false_positives: int
    false_ml: float
    dice: float
    known_ml: float
    found_ml: float


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """A method over several patients.

    `dice` is the mean over patients with lesions; errors are medians of absolute values, of lesions in
    percent and of the patients' total MTV in ml. NaN where there is nothing to average.
    """

    method: str
    patients: int
    known: int
    found: int
    false_positives: int
    dice: float
    mtv_error_percent: float
    suvmax_error_percent: float
    tmtv_error_ml: float

    @property
    def sensitivity(self) -> float:
        """Share of the known lesions that were found; NaN when there are none."""
        return self.found / self.known if self.known else NAN

    @property
    def false_positives_per_patient(self) -> float:
        """Mean number of false positives."""
        return self.false_positives / self.patients if self.patients else NAN


def compare_patient(
    patient: str, lesions: LesionTable, labels: Volume, known: Sequence[Answer]
) -> PatientMatch:
    """Match measured lesions with known ones on one grid.

    `labels` holds in each voxel the number of the known lesion, 0 for none. An empty table finds nothing and
    has no false positive. Raises GeometryError when the grids differ.
    """
    require_same_grid(patient, labels, lesions.labels)
    measured = {int(row["lesion"]): row for row in lesions.rows}
    shared = _shared_voxels(lesions.labels.array, labels.array)
    owner = {number: int(shared[number].argmax()) for number in measured if shared[number].any()}
    touched = {known_number for number in owner for known_number in np.flatnonzero(shared[number])}
    false = [row for number, row in measured.items() if number not in owner]
    matches = []
    for answer in known:
        own = [row for number, row in measured.items() if owner.get(number) == answer.number]
        matches.append(_match(patient, answer, answer.number in touched, own))
    return PatientMatch(
        patient=patient,
        lesions=tuple(matches),
        false_positives=len(false),
        false_ml=sum(row["MTV"] for row in false),
        dice=_dice(lesions.labels.array > 0, labels.array > 0),
        known_ml=sum(answer.volume_ml for answer in known),
        found_ml=sum(row["MTV"] for row in measured.values()),
    )


def summarise_method(method: str, patients: Sequence[PatientMatch]) -> MethodSummary:
    """One line over patients; see MethodSummary."""
    lesions = [lesion for patient in patients for lesion in patient.lesions]
    return MethodSummary(
        method=method,
        patients=len(patients),
        known=len(lesions),
        found=sum(lesion.found for lesion in lesions),
        false_positives=sum(patient.false_positives for patient in patients),
        dice=_mean([patient.dice for patient in patients]),
        mtv_error_percent=_median_size([lesion.mtv_error_percent for lesion in lesions]),
        suvmax_error_percent=_median_size([lesion.suvmax_error_percent for lesion in lesions]),
        tmtv_error_ml=_median_size([patient.found_ml - patient.known_ml for patient in patients]),
    )


def _shared_voxels(found: NDArray[np.integer], known: NDArray[np.integer]) -> NDArray[np.intp]:
    """Voxels that found lesion (row) and known lesion (column) share; row and column 0 stay empty."""
    shared = np.zeros((int(found.max()) + 1, int(known.max()) + 1), np.intp)
    both = (found > 0) & (known > 0)
    np.add.at(shared, (found[both].astype(np.intp), known[both].astype(np.intp)), 1)
    return shared


def _match(patient: str, known: Answer, found: bool, own: Sequence[Mapping[str, float]]) -> LesionMatch:
    if not own:
        return LesionMatch(patient, known, found, NAN, NAN)
    return LesionMatch(
        patient, known, found, sum(row["MTV"] for row in own), max(row["SUVmax"] for row in own)
    )


def _dice(found: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    if not known.any():
        return NAN
    return float(2.0 * (found & known).sum() / (found.sum() + known.sum()))


def _mean(values: Sequence[float]) -> float:
    finite = np.asarray(values, float)[np.isfinite(values)] if values else np.empty(0)
    return float(finite.mean()) if finite.size else NAN


def _median_size(values: Sequence[float]) -> float:
    finite = np.abs(np.asarray(values, float)[np.isfinite(values)]) if values else np.empty(0)
    return float(np.median(finite)) if finite.size else NAN
