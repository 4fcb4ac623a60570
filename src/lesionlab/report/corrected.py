"""A mask that somebody corrected in a folder of results is kept when other results are written over it.

The program's own masks are not: the same scan and method give them again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lesionlab.core.files import sha256_of, writing
from lesionlab.core.results import Findings

MASK = "mask.nii.gz"
MASK_GIVEN = "mask file"
"""In the `inputs` of run.json: the hash of the file that lesions were given in, where no method drew them."""
MASK_WRITTEN = "mask_sha256"
"""In run.json: the hash of mask.nii.gz as it was written beside it."""


def keep_corrected(findings: Findings, folder: Path) -> None:
    """Copy a corrected mask.nii.gz in `folder` to mask_corrected.nii.gz, before `findings` are written there.

    The copy has a number where that name is taken by another mask. Corrected is a mask that is not as it was
    written, or that a report was made of; one that the findings were measured from stays where it is. Raises
    WriteError where no copy can be written.
    """
    mask = folder / MASK
    if not mask.is_file():
        return
    content = sha256_of([mask])
    if findings.provenance.inputs.get(MASK_GIVEN) == content or _own(folder, content):
        return
    number = 1
    while (copy := folder / f"mask_corrected{f'_{number}' if number > 1 else ''}.nii.gz").exists():
        if sha256_of([copy]) == content:
            return
        number += 1
    with writing(copy) as temporary:
        shutil.copyfile(mask, temporary)


def corrected_masks(folder: Path) -> list[Path]:
    """The copies that `keep_corrected` made in a folder of results, or in those of many patients below it."""
    return sorted((*folder.glob("mask_corrected*.nii.gz"), *folder.glob("*/mask_corrected*.nii.gz")))


def _own(folder: Path, content: str) -> bool:
    """True for a mask that the program drew and wrote, and that is still as it was written."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return bool(run[MASK_WRITTEN] == content) and MASK_GIVEN not in run["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
