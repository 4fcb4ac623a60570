"""Verbs that start from scans: examine, convert, predict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlab.cli.bundles import NO_MODEL, Channels, Model, OverBody, Precision, open_bundle
from lesionlab.cli.datasets import convert_dataset
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
from lesionlab.cli.terminal import (
    Debug,
    Device,
    Json,
    answer,
    answer_json,
    complain,
    progress_bar,
    shown,
    table,
)
from lesionlab.core.lazy import imports_from

if TYPE_CHECKING:
    from lesionlab.core.results import Column, Findings
    from lesionlab.core.tasks import Outcome
    from lesionlab.pipeline.kept import Examined
    from lesionlab.report import CohortEntry

SHOWN_COLUMNS = (
    *("SUVmax", "SUVmean", "SUVpeak", "MTV", "TLG", "max", "mean", "volume", "diameter_3d"),
    *("PE_early", "SER", "FTV", "taller_than_wide", "posterior_ratio", "echo_ratio", "margin"),
)
"""What of the lesion table is worth a terminal's width; lesions.csv has all of it."""

SHOWN_SCORES = ("dice", "iou", "ppv", "sensitivity", "volume_error_ml", "lesions_missed", "lesions_false")
"""What of the metrics is worth a terminal's width; patient.json and cases.csv have all of them."""

LISTED = 20
"""Lesions that are listed in a terminal; lesions.csv has all of them."""

Scan = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="A patient (DICOM folder or file, NIfTI, MHA, NRRD, NPY, TIFF, PNG) or a folder of patients.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results go.", show_default=False)
]
Truth = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Expert contours or mask (NIfTI, RTSTRUCT, SEG) of a single patient."),
]
NETWORK_RUNS = 0.22
"""Share of the work on a patient that is done when the first tile is through the network."""
AFTER_NETWORK = (
    "scipy.spatial",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.patheffects",
    "contourpy",
)
"""What measuring and the pictures of a report import."""


def examine(
    source: Scan,
    out: Out,
    model: Model = None,
    truth: Truth = None,
    channels: Channels = None,
    device: Device = "auto",
    precision: Precision = None,
    over_body: OverBody = False,
    again: Annotated[
        bool, typer.Option("--again", help="In a cohort, also examine patients that are finished already.")
    ] = False,
    dicom: Dicom = "",
    also: Also = "",
    finding: Finding = NEOPLASM,
    empty_seg: EmptySeg = False,
    pseudonym: Pseudonym = "",
    keep_uids: KeepUids = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find and measure lesions, and write a report: the whole road from a scan to an answer.

    Writes report.html, lesions.csv, patient.json, run.json and mask.nii.gz into FOLDER; for a folder of
    patients, one such folder for each and a report over all. A patient who fails is listed at the end and
    does not stop the others (exit code 1). Interrupted, the same command goes on with the patients left.
    With --dicom, a PACS can take the answer: segmentation, structured report, contours, a picture.

    Example: `lesionlab examine dicom/patient7 -m models/pet -o out/patient7 --dicom seg,sr`
    """
    from lesionlab import pipeline
    from lesionlab.report import write_findings
    from lesionlab.report.corrected import corrected_masks

    exports = exports_of(dicom, also, finding, empty_seg, pseudonym, keep_uids)
    corrected = corrected_masks(out)
    bundle = open_bundle(model, channels, precision, over_body)
    if not pipeline.is_one_case(source):
        for option, given in (("--truth", truth), ("--pseudonym", pseudonym)):
            if given:
                raise typer.BadParameter(f"{option} belongs to a single patient", param_hint=option)
        earlier = pipeline.exported_of_all(out)
        with progress_bar() as progress:
            outcomes = pipeline.examine_cohort(
                source, bundle, out, device=device, again=again, exports=exports, progress=progress
            )
        tell_corrected(corrected, out)
        _tell_cohort(outcomes, out, as_json, earlier)
        return
    pipeline.require_apart(out, source)
    earlier = pipeline.exported(out)
    with progress_bar() as progress:
        told = imports_from(progress, NETWORK_RUNS, AFTER_NETWORK)
        findings = pipeline.examine(source, bundle, truth=truth, device=device, progress=told)
        pipeline.require_exportable(findings, exports)
        page = write_findings(findings, out)
        written = pipeline.write_exports(findings, out, exports) if exports.wanted else []
    tell_stale(earlier, written)
    tell_corrected(corrected, out)
    if as_json:
        answer_json({**_record(findings, page), "exports": [str(path) for path in written]})
    else:
        tell_findings(findings)
        answer("\n" + "\n".join([f"report: {page}", *map(str, written)]))


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A patient, a folder of patients, or the name of a data set and then its folder.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[SRC]", help="Where the named data set lies.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where results go.", show_default=False),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="Which channels, and on whose grid: a recipe's name or TOML file.",
            metavar="RECIPE",
        ),
    ] = NO_MODEL,
    classes: Annotated[
        bool, typer.Option("--classes", help="Of a data set: keep benign and malignant apart, as two labels.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Of a data set: check and count only, write nothing.")
    ] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Of a data set: go on without the cases that lack a file.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn scans into NIfTI: PET in SUVbw, all channels and contours on one grid.

    Writes FOLDER/CASE/ with suv.nii.gz, ct.nii.gz, ..., truth.nii.gz and case.json. Cases already converted
    are kept, so an interrupted run goes on where it stopped. With the name of a data set (breastdm, autopet,
    busi, bus-bra, mama-mia, sts, stacks, folder) its files are checked and counted first; its own folds are
    written beside the cases.

    Example: `lesionlab convert dicom/ -r petct -o nifti/`, or `lesionlab convert bus-bra BUSBRA/ -o cases/`
    """
    from lesionlab import pipeline
    from lesionlab.core.registry import find_recipe

    if folder is not None:
        _refuse_with_dataset(recipe)
        convert_dataset(str(source), folder, out, classes=classes, go_on=(check, incomplete), as_json=as_json)
        return
    _refuse_without_dataset({"--classes": classes, "--check": check, "--incomplete": incomplete})
    if out is None:
        raise typer.BadParameter("missing", param_hint="--out")
    with progress_bar() as progress:
        outcomes = pipeline.convert_cohort(source, out, find_recipe(recipe), progress=progress)
    tell_paths(outcomes, as_json)


def _refuse_with_dataset(recipe: str) -> None:
    if recipe != NO_MODEL:
        raise typer.BadParameter("a data set's channels are its own", param_hint="--recipe")


def _refuse_without_dataset(options: Mapping[str, bool]) -> None:
    for option, given in options.items():
        if given:
            words = f"{option} belongs to a data set: its name, then its folder"
            raise typer.BadParameter(words, param_hint=option)


def predict(
    source: Scan,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Mask file of one case, or a folder for many.",
            show_default=False,
        ),
    ],
    model: Model = None,
    channels: Channels = None,
    device: Device = "auto",
    precision: Precision = None,
    over_body: OverBody = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the mask that a method draws, as it draws it: no clean-up, no measuring.

    Example: `lesionlab predict dicom/patient7 -m models/pet -o patient7.nii.gz`
    """
    from lesionlab import pipeline
    from lesionlab.core.tasks import Outcome

    bundle = open_bundle(model, channels, precision, over_body)
    with progress_bar() as progress:
        if pipeline.is_one_case(source):
            path = pipeline.predict_file(source, bundle, _mask_file(out), device=device, progress=progress)
            outcomes = [Outcome(source.name, path, None, 0.0)]
        else:
            outcomes = pipeline.predict_cohort(source, bundle, out, device=device, progress=progress)
    tell_paths(outcomes, as_json)


def _mask_file(out: Path) -> Path:
    """The file to write a mask to: `out` itself where it names one, mask.nii.gz in it otherwise."""
    return out if out.suffix and not out.is_dir() else out / "mask.nii.gz"


def tell_findings(findings: Findings) -> None:
    """Print one patient's lesions, totals and, where the truth is known, the agreement with it."""
    lesions = findings.lesions
    columns = [column for column in lesions.columns if column.name in SHOWN_COLUMNS]
    answer(f"{findings.case.id}: {len(lesions.rows)} lesion{'' if len(lesions.rows) == 1 else 's'}")
    if lesions.rows:
        rows: list[list[object]] = [
            [i, *(row[column.name] for column in columns)] for i, row in enumerate(lesions.rows, start=1)
        ]
        head = ["lesion", *map(with_unit, columns)]
        if lesions.label_names:
            names = [lesions.label_names.get(int(row["label"]), "-") for row in lesions.rows]
            head, rows = [*head, "label"], [[*row, name] for row, name in zip(rows, names, strict=True)]
        rest = len(rows) - LISTED
        more = f"and {rest} more in lesions.csv\n" if rest > 0 else ""
        answer("\n" + table(head, rows[:LISTED]) + "\n" + more)
    totals = [f"{with_unit(c)} {shown(lesions.totals[c.name])}" for c in lesions.total_columns]
    answer("total: " + ", ".join(totals))
    if findings.scores is not None:
        known = [name for name in SHOWN_SCORES if name in findings.scores.values]
        answer("truth: " + ", ".join(f"{name} {shown(findings.scores.values[name])}" for name in known))


def with_unit(column: Column) -> str:
    """A column's name with its unit, for a table's head; UCUM annotations without the name they repeat."""
    unit = column.unit.split("{")[0] or column.unit.strip("{}")
    return column.name if unit in ("", "1") else f"{column.name} [{unit}]"


def _record(findings: Findings, page: Path) -> dict[str, Any]:
    from lesionlab.report.tables import patient_record

    return {**patient_record(findings), "report": str(page)}


def _tell_cohort(
    outcomes: Sequence[Outcome[Examined]], out: Path, as_json: bool, earlier: Sequence[Path]
) -> None:
    from lesionlab import pipeline

    tell_stale(earlier, pipeline.exported_of_all(out))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    done = [outcome.value.entry for outcome in outcomes if outcome.value is not None]
    page = out / "report.html"
    if as_json:
        records = [json.loads((out / entry.case_id / "patient.json").read_text()) for entry in done]
        cases = [{**record, "report": str(out / record["case_id"] / "report.html")} for record in records]
        errors = [{"case_id": outcome.name, "error": outcome.error} for outcome in failed]
        answer_json({"cases": cases, "failed": errors, "report": str(page)})
    else:
        if done:
            answer(cohort_table(done))
        answer(f"\n{len(done)} of {len(outcomes)} examined\nreport: {page}")
    list_failures(failed)


def cohort_table(entries: Sequence[CohortEntry]) -> str:
    """A row per patient: lesions, totals by their units, and Dice where any patient came with a truth."""
    columns = {(column.name, column.unit): column for entry in entries for column, _ in entry.headline}
    scored = ["dice"] if any("dice" in entry.scores for entry in entries) else []
    rows: list[list[object]] = []
    for entry in entries:
        values = {(column.name, column.unit): value for column, value in entry.headline}
        totals = [values.get(key) for key in columns]
        rows.append([entry.case_id, len(entry.rows), *totals, *(entry.scores.get(name) for name in scored)])
    return table(["case", "lesions", *map(with_unit, columns.values()), *scored], rows)


def tell_paths(outcomes: Sequence[Outcome[Path]], as_json: bool) -> None:
    """Print what was written, or both lists as JSON; cases that failed end it with exit code 1."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    written = [str(outcome.value) for outcome in outcomes if outcome.value is not None]
    if as_json:
        errors = [{"case_id": outcome.name, "error": outcome.error} for outcome in failed]
        answer_json({"written": written, "failed": errors})
    else:
        for path in written:
            answer(path)
    list_failures(failed)


def list_failures(failed: Sequence[Outcome[Any]]) -> None:
    """Name each case that failed, with its reason, and exit with 1 if there is any."""
    for outcome in failed:
        complain(str(outcome.error))
    if failed:
        raise typer.Exit(1)
