"""Folds by patient: every case of one patient is on the same side of every split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lesionlab.core.errors import DatasetError
from lesionlab.core.splits import OfficialFolds

Folds = list[dict[str, list[str]]]


@dataclass(frozen=True)
class OwnFolds:
    """Folds that are neither drawn nor the data set's: `split` makes them of case to patient."""

    name: str
    split: Callable[[Mapping[str, str]], Folds]


def patient_folds(
    patients: Mapping[str, str], folds: int, seed: int, *, with_lesion: Mapping[str, bool] | None = None
) -> list[dict[str, list[str]]]:
    """Split cases into `folds` training and validation sets by patient.

    `patients` maps case id to patient id; `with_lesion` tells which cases hold foreground, and folds are then
    balanced in patients with and without. The result is nnU-Net's splits_final: one {"train",
    "val"} of case ids per fold, each case in exactly one "val". The same seed gives the same
    folds whatever the order of cases. Raises DatasetError for fewer patients than folds, and below two folds.
    """
    if folds < 2:
        raise DatasetError("folds", f"training.folds = {folds}", "at least 2, or a data set's own folds")
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


def official_splits(official: OfficialFolds, patients: Mapping[str, str]) -> Folds:
    """A data set's own folds of the cases in `patients` (case id to patient id), as nnU-Net's splits_final.

    Cases that are no longer there are left out of them. Raises DatasetError, naming them, for cases in no
    fold and for a patient on both sides of one.
    """
    splits = []
    for number, split in enumerate(official.splits):
        train, val = ([case for case in side if case in patients] for side in (split.train, split.val))
        strangers = sorted(set(patients) - set(train) - set(val))
        if strangers:
            raise DatasetError(
                f"{official.name}, fold {number}",
                f"{len(strangers)} cases in no official fold ({', '.join(strangers[:3])})",
                "training.official_folds = false, to draw folds of one's own",
            )
        both = sorted({patients[case] for case in train} & {patients[case] for case in val})
        if both:
            raise DatasetError(
                f"{official.name}, fold {number}",
                f"{len(both)} patients in training and validation ({', '.join(both[:3])})",
                "a patient on one side only, or training.official_folds = false",
            )
        splits.append({"train": sorted(train), "val": sorted(val)})
    return splits


def require_lesions(folds: Folds, with_lesion: Mapping[str, bool]) -> None:
    """Raise DatasetError, naming the fold, where training or validation cases are all without a lesion."""
    for number, fold in enumerate(folds):
        for side, word in (("train", "training"), ("val", "validation")):
            if not any(with_lesion[case] for case in fold[side]):
                raise DatasetError(
                    f"fold {number}",
                    f"{len(fold[side])} {word} cases, none with a lesion",
                    "a lesion on both sides of each fold: fewer folds, or more cases",
                )


def require_lesion_free(folds: Folds, with_lesion: Mapping[str, bool], share: float | None) -> None:
    """Raise DatasetError, naming the fold, where a share of lesion-free patches has no case to come from."""
    for number, fold in enumerate(folds):
        if share and all(with_lesion[case] for case in fold["train"]):
            raise DatasetError(
                f"fold {number}",
                f"{len(fold['train'])} training cases, all with a lesion, for lesion_free_share = {share:g}",
                "a lesion-free case to train on in each fold, or no training.lesion_free_share",
            )


def _any_lesion(cases: Sequence[str], with_lesion: Mapping[str, bool] | None) -> bool:
    return with_lesion is None or any(with_lesion[case] for case in cases)
