"""Found against known: what a method's mask makes of lesions whose answer is certain.

Rules: a known lesion is found when a component of the mask touches one of its voxels. A component belongs to
the known lesion of which it covers most voxels, and volume and SUVmax are measured over all components
that belong to a lesion; a lesion that is found only by components which belong to others has no
measurement of its own. A component that touches no known lesion is a false positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import components
from lesionlab.core.grid import require_same_grid
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
    patient: str, mask: Volume, suv: Volume, labels: Volume, known: Sequence[Answer]
) -> PatientMatch:
    """Match the components of a binary `mask` with known lesions, all on one grid.

    `labels` holds in each voxel the number of the known lesion, 0 for none; `suv` is SUVbw. An empty mask
    finds nothing and has no false positive. Raises GeometryError when the grids differ.
    """
    require_same_grid(patient, labels, mask)
    require_same_grid(patient, labels, suv)
    voxel_ml = mask.geometry.voxel_ml
    inside = mask.array > 0
    numbers, boxes = components(inside.astype(np.uint8))
    owner, touched, false_ml = np.zeros(len(boxes) + 1, int), set(), 0.0
    for number, box in enumerate(boxes, start=1):
        here = numbers[box] == number
        counts = np.bincount(labels.array[box][here].astype(np.intp))
        touched.update((np.flatnonzero(counts[1:]) + 1).tolist())
        if counts[1:].any():
            owner[number] = int(np.argmax(counts[1:])) + 1
        else:
            false_ml += float(here.sum()) * voxel_ml
    owned = owner[numbers]
    matches = tuple(
        _match(patient, answer, answer.number in touched, suv.array[owned == answer.number], voxel_ml)
        for answer in known
    )
    return PatientMatch(
        patient=patient,
        lesions=matches,
        false_positives=int((owner[1:] == 0).sum()),
        false_ml=false_ml,
        dice=_dice(inside, labels.array > 0),
        known_ml=sum(answer.volume_ml for answer in known),
        found_ml=float(inside.sum()) * voxel_ml,
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


def _match(
    patient: str, known: Answer, found: bool, values: NDArray[np.floating], voxel_ml: float
) -> LesionMatch:
    if not values.size:
        return LesionMatch(patient, known, found, NAN, NAN)
    return LesionMatch(patient, known, found, values.size * voxel_ml, float(values.max()))


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
