"""What follows from a set of cases: folds, and nnU-Net's raw folder, fingerprint and plans.

The names load on first use: the fingerprint alone needs neither recipes nor folds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlab.core.lazy import on_first_use

if TYPE_CHECKING:
    from lesionlab.plan.dataset import (
        DRAWN,
        Gathered,
        Plan,
        among,
        gather_dataset,
        nnunet_id,
        plan_dataset,
        plan_gathered,
        require_fit,
    )
    from lesionlab.plan.folds import OwnFolds, patient_folds

__all__ = [
    "DRAWN",
    "Gathered",
    "OwnFolds",
    "Plan",
    "among",
    "gather_dataset",
    "nnunet_id",
    "patient_folds",
    "plan_dataset",
    "plan_gathered",
    "require_fit",
]

_HOMES = {
    "DRAWN": "lesionlab.plan.dataset",
    "Gathered": "lesionlab.plan.dataset",
    "Plan": "lesionlab.plan.dataset",
    "OwnFolds": "lesionlab.plan.folds",
    "among": "lesionlab.plan.dataset",
    "gather_dataset": "lesionlab.plan.dataset",
    "nnunet_id": "lesionlab.plan.dataset",
    "patient_folds": "lesionlab.plan.folds",
    "plan_dataset": "lesionlab.plan.dataset",
    "plan_gathered": "lesionlab.plan.dataset",
    "require_fit": "lesionlab.plan.dataset",
}
__getattr__ = on_first_use(__name__, _HOMES)
