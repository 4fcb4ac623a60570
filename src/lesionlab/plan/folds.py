"""Folds by patient: every case of one patient is on the same side of every split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from lesionlab.core.errors import DatasetError


def patient_folds(
    patients: Mapping[str, str], folds: int, seed: int, *, with_lesion: Mapping[str, bool] | None = None
) -> list[dict[str, list[str]]]:
    """Split cases into `folds` training and validation sets by patient.

    `patients` maps case id to patient id; `with_lesion` tells which cases hold foreground, and folds are then
    balanced in patients with and without. The result is nnU-Net's splits_final: one {"train",
    "val"} of case ids per fold, each case in exactly one "val". The same seed gives the same
    folds whatever the order of cases. Raises DatasetError for fewer patients than folds.
    """
    cases_of: dict[str, list[str]] = defaultdict(list)
    for case in sorted(patients):
        cases_of[patients[case]].append(case)
    if len(cases_of) < folds:
        raise DatasetError(
            "folds", f"{len(cases_of)} patients", f"at least as many patients as folds ({folds})"
        )
    random = np.random.default_rng(seed)
    positive = [p for p in sorted(cases_of) if _any_lesion(cases_of[p], with_lesion)]
    negative = [p for p in sorted(cases_of) if p not in set(positive)]
    order = [str(p) for group in (positive, negative) for p in random.permutation(group)]
    held_out = [set(order[fold::folds]) for fold in range(folds)]
    return [
        {
            "train": [c for p in sorted(cases_of) if p not in held for c in cases_of[p]],
            "val": [c for p in sorted(held) for c in cases_of[p]],
        }
        for held in held_out
    ]


def _any_lesion(cases: Sequence[str], with_lesion: Mapping[str, bool] | None) -> bool:
    return with_lesion is None or any(with_lesion[case] for case in cases)
