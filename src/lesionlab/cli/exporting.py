"""Options of `examine` and `report` that write results for other tools: DICOM objects, research files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.terminal import say

if TYPE_CHECKING:
    from lesionlab.pipeline.exports import Exports

NAMED = 10
"""So many files of an earlier run are named; of many patients there may be thousands."""
Dicom = Annotated[
    str,
    typer.Option(
        "--dicom",
        metavar="LIST",
        help="DICOM results into dicom/: some of seg, labelmap, probability, sr, rtstruct, sc.",
    ),
]
Also = Annotated[
    str, typer.Option("--also", metavar="LIST", help="Files for research viewers: nrrd (3D Slicer), bids.")
]
Finding = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="What DICOM results call a lesion: neoplasm, primary, secondary or lesion."
    ),
]
EmptySeg = Annotated[
    bool, typer.Option("--empty-seg", help="Write a segmentation without voxels where no lesion was found.")
]
Pseudonym = Annotated[
    str,
    typer.Option(metavar="NAME", help="De-identify the results (DICOM PS3.15); NAME stands for the patient."),
]
KeepUids = Annotated[
    bool, typer.Option("--keep-uids", help="With --pseudonym: keep UIDs, so that results fit the images.")
]

NEOPLASM = "neoplasm"
"""What a lesion is called unless told otherwise."""


def exports_of(
    dicom: str, also: str, finding: str, empty_seg: bool, pseudonym: str, keep_uids: bool
) -> Exports:
    """What the options ask for; a wrong name is a usage error that lists the known ones."""
    from lesionlab.pipeline.exports import Exports

    for option, needed, alone in (
        ("--empty-seg", "--dicom", empty_seg and not dicom),
        ("--pseudonym", "--dicom", pseudonym and not (dicom or also)),
        ("--keep-uids", "--pseudonym", keep_uids and not pseudonym),
        ("--finding", "--dicom or --also nrrd", finding != NEOPLASM and not (dicom or also)),
    ):
        if alone:
            named = "; the report and its tables name the patient" if option == "--pseudonym" else ""
            raise typer.BadParameter(f"{option} without {needed} changes nothing{named}", param_hint=option)
    if not (dicom or also):
        return Exports()
    from lesionlab.report.dicom_codes import FINDINGS
    from lesionlab.report.dicom_settings import KINDS, DicomSettings
    from lesionlab.report.research import RESEARCH

    kinds = _known(dicom, KINDS, "--dicom")
    if finding not in FINDINGS:
        raise typer.BadParameter(f"{finding!r} is none of {', '.join(FINDINGS)}", param_hint="--finding")
    settings = DicomSettings(
        kinds=kinds,  # type: ignore[arg-type]
        finding=finding,
        empty_segmentation=empty_seg,
        pseudonym=pseudonym,
        keep_uids=keep_uids,
    )
    return Exports(settings, _known(also, RESEARCH, "--also"))


def tell_stale(earlier: Sequence[Path], written: Sequence[Path], over_all: Path | None = None) -> None:
    """Say which files that an earlier run wrote beside the report still stand and were not written anew.

    `over_all` is the page over all patients, where one of them was measured again.
    """
    stale = [str(file) for file in earlier if file.is_file() and file not in written]
    if stale:
        more = f" and {len(stale) - NAMED} more" if len(stale) > NAMED else ""
        say(f"note: still of the mask before, not written anew: {', '.join(stale[:NAMED])}{more}")
    if over_all is not None:
        say(f"note: {over_all} still has what was before; the same examine takes this up")


def tell_corrected(earlier: Sequence[Path], folder: Path) -> None:
    """Say where the masks lie that were corrected in `folder` before, and that were written over now.

    `earlier` are the copies that were there already.
    """
    from lesionlab.report.corrected import corrected_masks

    for file in corrected_masks(folder):
        if file not in earlier:
            say(f"note: the corrected mask that stood there is kept: {file}")


def _known(listed: str, names: tuple[str, ...], option: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(part.strip() for part in listed.split(",") if part.strip()))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(names)}", param_hint=option)
    return wanted
