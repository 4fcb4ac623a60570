"""The stages in order; read `patient.py` first.

`patient` takes one scan all the way, `cohort` many; `exports` hands results to other tools; `training`
makes a bundle, `marks` and `evaluation` work on mask files.
Everything here only joins stages and keeps the record of what ran; the work itself is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlab.core.lazy import on_first_use

if TYPE_CHECKING:
    from lesionlab.pipeline.cohort import (
        convert_cohort,
        examine_cohort,
        is_one_case,
        predict_cohort,
        predict_file,
    )
    from lesionlab.pipeline.evaluation import (
        Settings,
        evaluate_files,
        evaluate_pairs,
        model_results,
        require_no_results,
        scores_of,
        summary_of,
        write_evaluation,
    )
    from lesionlab.pipeline.exports import (
        Exports,
        exported,
        exported_of_all,
        require_exportable,
        write_dicom,
        write_exports,
    )
    from lesionlab.pipeline.files import require_apart, require_none_of, require_spared
    from lesionlab.pipeline.kept import take_up
    from lesionlab.pipeline.marks import recipe_of, refine_file, write_lesions
    from lesionlab.pipeline.measured import listed, measure_cohort, named, paired, write_cohort_measurements
    from lesionlab.pipeline.pairs import listed_pairs, pairs_of
    from lesionlab.pipeline.patient import examine, findings_again, findings_of_mask, open_standardised
    from lesionlab.pipeline.references import Places, with_references
    from lesionlab.pipeline.special import maps_in, write_maps
    from lesionlab.pipeline.suv import SuvResult, suv_file, suv_of

__all__ = [
    "Exports",
    "Places",
    "Settings",
    "SuvResult",
    "convert_cohort",
    "evaluate_files",
    "evaluate_pairs",
    "examine",
    "examine_cohort",
    "exported",
    "exported_of_all",
    "findings_again",
    "findings_of_mask",
    "is_one_case",
    "listed",
    "listed_pairs",
    "maps_in",
    "measure_cohort",
    "model_results",
    "named",
    "open_standardised",
    "paired",
    "pairs_of",
    "predict_cohort",
    "predict_file",
    "recipe_of",
    "refine_file",
    "require_apart",
    "require_exportable",
    "require_no_results",
    "require_none_of",
    "require_spared",
    "scores_of",
    "summary_of",
    "suv_file",
    "suv_of",
    "take_up",
    "with_references",
    "write_cohort_measurements",
    "write_dicom",
    "write_evaluation",
    "write_exports",
    "write_lesions",
    "write_maps",
]

_HOMES = {
    "Exports": "lesionlab.pipeline.exports",
    "Places": "lesionlab.pipeline.references",
    "Settings": "lesionlab.pipeline.evaluation",
    "SuvResult": "lesionlab.pipeline.suv",
    "convert_cohort": "lesionlab.pipeline.cohort",
    "evaluate_files": "lesionlab.pipeline.evaluation",
    "evaluate_pairs": "lesionlab.pipeline.evaluation",
    "examine": "lesionlab.pipeline.patient",
    "examine_cohort": "lesionlab.pipeline.cohort",
    "exported": "lesionlab.pipeline.exports",
    "exported_of_all": "lesionlab.pipeline.exports",
    "findings_again": "lesionlab.pipeline.patient",
    "findings_of_mask": "lesionlab.pipeline.patient",
    "is_one_case": "lesionlab.pipeline.cohort",
    "listed": "lesionlab.pipeline.measured",
    "listed_pairs": "lesionlab.pipeline.pairs",
    "maps_in": "lesionlab.pipeline.special",
    "measure_cohort": "lesionlab.pipeline.measured",
    "model_results": "lesionlab.pipeline.evaluation",
    "named": "lesionlab.pipeline.measured",
    "open_standardised": "lesionlab.pipeline.patient",
    "paired": "lesionlab.pipeline.measured",
    "pairs_of": "lesionlab.pipeline.pairs",
    "predict_cohort": "lesionlab.pipeline.cohort",
    "predict_file": "lesionlab.pipeline.cohort",
    "recipe_of": "lesionlab.pipeline.marks",
    "refine_file": "lesionlab.pipeline.marks",
    "require_apart": "lesionlab.pipeline.files",
    "require_exportable": "lesionlab.pipeline.exports",
    "require_no_results": "lesionlab.pipeline.evaluation",
    "require_none_of": "lesionlab.pipeline.files",
    "require_spared": "lesionlab.pipeline.files",
    "scores_of": "lesionlab.pipeline.evaluation",
    "summary_of": "lesionlab.pipeline.evaluation",
    "suv_file": "lesionlab.pipeline.suv",
    "suv_of": "lesionlab.pipeline.suv",
    "take_up": "lesionlab.pipeline.kept",
    "with_references": "lesionlab.pipeline.references",
    "write_cohort_measurements": "lesionlab.pipeline.measured",
    "write_dicom": "lesionlab.pipeline.exports",
    "write_evaluation": "lesionlab.pipeline.evaluation",
    "write_exports": "lesionlab.pipeline.exports",
    "write_lesions": "lesionlab.pipeline.marks",
    "write_maps": "lesionlab.pipeline.special",
}
__getattr__ = on_first_use(__name__, _HOMES)
