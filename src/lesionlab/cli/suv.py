"""The verb `suv`: a PET series as SUV, and how the number came about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.terminal import Debug, Json, answer, answer_json, say, table

if TYPE_CHECKING:
    from lesionlab.core.suv import SuvAudit


Pet = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT", help="The PET of one patient: a folder of DICOM, or a file.", show_default=False
    ),
]


def suv(
    source: Pet,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Also write the SUV volume, e.g. suv.nii.gz."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="SUVbw, SUVlbm-morgan, SUVlbm-james128, SUVlbm-janmahasatian, SUVibw or SUVbsa.",
        ),
    ] = "SUVbw",
    allow_cps: Annotated[
        bool, typer.Option("--allow-cps", help="Also take images in counts per second (Units CPS).")
    ] = False,
    autopet: Annotated[
        bool,
        typer.Option("--autopet", help="Decay reference as in the autoPET conversion: AcquisitionTime."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute SUV from a PET series' headers, and say by which rule, from which attributes, and what else.

    Refuses, naming the attribute, where a header does not say enough.

    Example: `lesionlab suv dicom/patient7 -o suv.nii.gz`
    """
    from lesionlab import pipeline
    from lesionlab.core.recipe import SuvSettings

    settings = SuvSettings(allow_cps=allow_cps, times="autopet" if autopet else "standard")
    if out is None:
        result = pipeline.suv_of(source, kind, settings)
    else:
        pipeline.require_apart(out, source)
        result = pipeline.suv_file(source, out, kind, settings)
    if as_json:
        answer_json({**result.record(), "file": None if out is None else str(out)})
        return
    answer(f"{result.case_id}: {result.kind}, {len(result.audit.factors)} slices")
    tell_audit(result.audit)
    if out is not None:
        answer(f"\nvolume: {out}")


def tell_audit(audit: SuvAudit) -> None:
    """Print an audit: rule, attributes, factor, decay references, other kinds; warnings to stderr."""
    answer(f"rule: {audit.rule}")
    answer(f"from: {', '.join(audit.tags)}")
    answer(f"SUVbw per stored unit: {audit.span}")
    if audit.candidates:
        rows = [
            [c.rule, f"{c.reference:%Y-%m-%d %H:%M:%S}", f"{c.factor:.6g}", "" if i else "taken"]
            for i, c in enumerate(audit.candidates)
        ]
        answer("\n" + table(["decay reference", "moment", "factor", ""], rows))
    others = [[kind, f"{m:.5g} x SUVbw"] for kind, m in audit.multiples.items() if kind != "SUVbw"]
    if others:
        answer("\n" + table(["other kinds", ""], others))
    for flag in audit.flags:
        answer(f"note: {flag}")
    for warning in audit.warnings:
        say(f"warning: {warning}")
