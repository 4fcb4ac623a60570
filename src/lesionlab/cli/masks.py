"""Verbs that start from masks: refine, measure, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.bundles import NO_MODEL
from lesionlab.cli.exporting import (
    NEOPLASM,
    Also,
    Dicom,
    EmptySeg,
    Finding,
    KeepUids,
    Pseudonym,
    exports_of,
    tell_corrected,
    tell_stale,
)
from lesionlab.cli.scans import cohort_table, list_failures, tell_findings
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, say

if TYPE_CHECKING:
    from lesionlab.core.recipe import Recipe
    from lesionlab.core.results import Findings
    from lesionlab.core.tasks import Outcome
    from lesionlab.pipeline.measured import Drawn
    from lesionlab.report import CohortEntry

ON_REQUEST = ("long.csv", "ibsi_checklist.csv", "ibsi_checklist.html")
MEASURED = ("lesions.csv", "patients.csv", "columns.csv", "long.csv", "ibsi_checklist.csv")
"""The tables of many patients."""
Mask = Annotated[
    Path,
    typer.Argument(
        metavar="MASK", help="Lesions as NIfTI, MHA, NRRD, RTSTRUCT or DICOM SEG.", show_default=False
    ),
]
RecipeName = Annotated[
    str,
    typer.Option("--recipe", "-r", metavar="RECIPE", help="A recipe's name, TOML file or a bundle folder."),
]
Scans = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="A scan, a folder of patients, or a CSV file with columns image and mask.",
        show_default=False,
    ),
]
LiverPlace = Annotated[
    str, typer.Option(metavar="PLACE", help="Liver of a PET: x,y,z in mm (LPS), or label:N of the mask.")
]
BloodPlace = Annotated[str, typer.Option(metavar="PLACE", help="Blood pool (aorta) of a PET, likewise.")]
Specimen = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A mask of the excised specimen: resection margins.")
]

Names = Annotated[
    str,
    typer.Option(
        "--names",
        metavar="WHOSE",
        help="ibsi, or pyradiomics: a recipe's radiomics as PyRadiomics gives them, for models made with it.",
    ),
]


def refine(
    mask: Mask,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Cleaned mask.", show_default=False)
    ],
    recipe: RecipeName = NO_MODEL,
    keep: Annotated[
        str | None,
        typer.Option(help="all, or largest: the largest component of each label (deletes metastases)."),
    ] = None,
    minimum_ml: Annotated[
        float | None, typer.Option(help="Drop components smaller than this, in ml.")
    ] = None,
    fill_holes: Annotated[bool | None, typer.Option(help="Fill holes enclosed by a lesion.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Clean a mask up: small components, holes, largest component, as a recipe or the options say.

    Example: `lesionlab refine patient7.nii.gz --minimum-ml 0.5 --fill-holes -o clean.nii.gz`
    """
    from lesionlab import pipeline

    given = {"keep": keep, "minimum_ml": minimum_ml, "fill_holes": fill_holes}
    changes = {key: value for key, value in given.items() if value is not None}
    chosen = pipeline.recipe_of(recipe).changed(refine=changes)
    path, notes = pipeline.refine_file(mask, chosen, out)
    if as_json:
        answer_json({"mask": str(path), "notes": notes})
    else:
        for note in notes or ["refine: nothing to change"]:
            answer(note)
        answer(str(path))


def measure(
    image: Scans,
    mask: Annotated[
        Path | None,
        typer.Argument(
            metavar="MASK",
            help="Lesions as NIfTI, MHA, NRRD, RTSTRUCT or DICOM SEG; for a folder of patients, a folder.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="The whole table as CSV; for many, their folder."),
    ] = None,
    recipe: RecipeName = NO_MODEL,
    long: Annotated[
        bool, typer.Option("--long", help="For many: also long.csv, a row per lesion and quantity.")
    ] = False,
    specimen: Specimen = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write maps (enhancement, margin) as NIfTI, for one scan."),
    ] = None,
    liver: LiverPlace = "",
    blood: BloodPlace = "",
    names: Names = "ibsi",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure lesions that are already drawn: SUVmax, SUVpeak, MTV, TLG, diameters, position.

    Every connected component of the mask is a lesion. The recipe says which channel is measured. Of many
    patients, one that cannot be measured is listed at the end and does not stop the others (exit code 1).

    Example: `lesionlab measure dicom/patient7 patient7.nii.gz -o lesions.csv`, or
    `lesionlab measure cases.csv -r pet-radiomics -o measured/`
    """
    from lesionlab import pipeline

    pairs = drawn_pairs(image, mask)
    chosen = pipeline.named(pipeline.recipe_of(recipe), names)
    if pairs is not None:
        _refuse_for_many(specimen is not None or maps is not None or bool(liver or blood))
        if out is not None:
            pipeline.require_spared((out / name for name in MEASURED), image)
            pipeline.require_none_of(out, ("run.json", "report.html"))
        measure_many(image.name, pairs, chosen, (out, long, as_json))
        return
    drawn = _mask_of_one(mask, long)
    if out is not None:
        pipeline.require_spared([out], image, drawn, specimen)
    if maps is not None:
        pipeline.require_apart(maps, image)
    with progress_bar() as progress:
        findings = pipeline.findings_of_mask(image, drawn, chosen, specimen=specimen, progress=progress)
        findings = pipeline.with_references(findings, chosen, pipeline.Places(liver, blood))
    if out is not None:
        pipeline.write_lesions(findings, out)
    if maps is not None:
        written = pipeline.write_maps(findings, chosen, maps, specimen=specimen)
        _tell_earlier(set(pipeline.maps_in(maps)) - set(written))
    _tell_measured_one(findings, as_json)


def _tell_measured_one(findings: Findings, as_json: bool) -> None:
    """The lesions of one scan, and every note: there is no page that would hold them."""
    from lesionlab.report.tables import all_notes, patient_record

    if as_json:
        answer_json(patient_record(findings))
        return
    tell_findings(findings)
    for note in all_notes(findings):
        say(f"note: {note}")


def _refuse_for_many(given: bool) -> None:
    if given:
        single = "--specimen, --maps, --liver and --blood"
        raise typer.BadParameter(f"{single} belong to a single scan", param_hint="INPUT")


def _mask_of_one(mask: Path | None, long: bool) -> Path:
    if mask is None:
        raise typer.BadParameter("a scan needs a MASK", param_hint="MASK")
    if long:
        raise typer.BadParameter("a table over many patients, and this is a single scan", param_hint="--long")
    return mask


def measure_many(title: str, pairs: list[Drawn], recipe: Recipe, how: tuple[Path | None, bool, bool]) -> None:
    """Measure the patients and tell; `how`: the folder of the tables, whether the long one too, JSON."""
    from lesionlab import pipeline

    out, long, as_json = how
    if out is None:
        raise typer.BadParameter("many patients need -o FOLDER", param_hint="--out")
    earlier = {file: file.stat().st_mtime_ns for name in ON_REQUEST if (file := out / name).is_file()}
    with progress_bar() as progress:
        outcomes = pipeline.measure_cohort(pairs, recipe, progress=progress)
        pipeline.write_cohort_measurements(outcomes, out, title=title, long=long)
    _tell_earlier(file for file, written in earlier.items() if file.stat().st_mtime_ns == written)
    tell_measured(outcomes, out, as_json)


def _tell_earlier(files: Iterable[Path]) -> None:
    """Name the files that this run would write under other settings, and that an earlier one left."""
    stale = sorted(map(str, files))
    if stale:
        say(f"note: of an earlier run, not written anew: {', '.join(stale)}")


def drawn_pairs(image: Path, mask: Path | None) -> list[Drawn] | None:
    """The scans and masks of many patients; None where the arguments name a single one."""
    from lesionlab import pipeline

    if image.suffix.lower() == ".csv":
        if mask is not None:
            raise typer.BadParameter("a CSV file names its masks itself", param_hint="MASK")
        return pipeline.listed(image)
    if mask is not None and mask.is_dir() and image.is_dir() and not pipeline.is_one_case(image):
        return pipeline.paired(image, mask)
    return None


def tell_measured(outcomes: Sequence[Outcome[CohortEntry]], out: Path, as_json: bool) -> None:
    """Print a row per patient, or the paths and failures as JSON."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    if as_json:
        errors = [{"case_id": outcome.name, "error": outcome.error} for outcome in failed]
        tables = {name: str(out / f"{name}.csv") for name in ("lesions", "patients", "columns")}
        answer_json({"measured": len(done), "failed": errors, **tables})
    else:
        if done:
            answer(cohort_table(done))
        answer(f"\n{len(done)} of {len(outcomes)} measured\ntables: {out / 'lesions.csv'}")
    list_failures(failed)


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A folder that `examine` wrote, or a scan (then with --mask).",
            show_default=False,
        ),
    ],
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="MASK", help="Lesions to report on, drawn by whomever.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where the report goes.", show_default="the examined folder"
        ),
    ] = None,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Expert contours or mask.")] = None,
    recipe: RecipeName = NO_MODEL,
    dicom: Dicom = "",
    also: Also = "",
    finding: Finding = NEOPLASM,
    empty_seg: EmptySeg = False,
    pseudonym: Pseudonym = "",
    keep_uids: KeepUids = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a report again after its mask was corrected by hand, or make one for a scan and a mask.

    A folder from `examine` knows its scan and recipe: its mask.nii.gz is measured again and all files are
    written anew. With --dicom, a PACS can take the answer.

    Example: `lesionlab report out/patient7 --dicom seg,sr`, or
    `lesionlab report dicom/patient7 --mask drawn.nii.gz -o out/drawn`
    """
    from lesionlab import pipeline
    from lesionlab.report import write_findings
    from lesionlab.report.corrected import corrected_masks

    exports = exports_of(dicom, also, finding, empty_seg, pseudonym, keep_uids)
    with progress_bar() as progress:
        if mask is None:
            _refuse_without_mask(truth, recipe)
            findings = pipeline.findings_again(source, progress=progress)
        elif out is None:
            raise typer.BadParameter("a report on a scan and a mask needs -o FOLDER", param_hint="--out")
        else:
            chosen = pipeline.recipe_of(recipe)
            findings = pipeline.findings_of_mask(source, mask, chosen, truth=truth, progress=progress)
        folder = out or source
        pipeline.require_apart(folder, Path(findings.provenance.source))
        earlier, corrected = pipeline.exported(folder), corrected_masks(folder)
        page = write_findings(findings, folder)
        written = pipeline.write_exports(findings, folder, exports) if exports.wanted else []
    tell_stale(earlier, written, pipeline.take_up(findings, folder))
    tell_corrected(corrected, folder)
    if as_json:
        answer_json({"report": str(page), "exports": [str(path) for path in written]})
    else:
        answer("\n".join([f"report: {page}", *map(str, written)]))


def _refuse_without_mask(truth: Path | None, recipe: str) -> None:
    """A folder that `examine` wrote knows its truth and its recipe."""
    for option, given in (("--truth", truth is not None), ("--recipe", recipe != NO_MODEL)):
        if given:
            raise typer.BadParameter(f"{option} goes with --mask", param_hint=option)
