"""Does a network that leaves lesion-free parts empty only see that they are magnified?

    python benchmarks/bus_bra_magnified.py DATA WORKSPACE -o magnified.md

DATA and WORKSPACE are those of `make bus-bra-lesion-free`. For every lesion-free part of fold 0, a part of
the same size around the lesion of the same image, where the lesion fits into it, goes through each network of
the study: it is magnified as much, and not empty. A network that had learnt the magnification would find
nothing there. A minute on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bus_bra_lesion_free import SUFFIX, part_of
from numpy.typing import NDArray
from road import dice, table

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.training import fold_bundle
from lesionlab.predict import predict

FOLD = 0
HEAD = ("network", "parts", "found in the part", "Dice there", "found in the whole image")


@dataclass(frozen=True)
class Found:
    """Of one image: whether its lesion is touched in the part and in the whole image, and the part's Dice."""

    part: bool
    dice: float
    whole: bool


def around(lesion: NDArray[np.bool_], size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a part of `size` with the lesion in its middle, as far as the image lets it.

    None where the lesion does not fit.
    """
    inside = np.argwhere(lesion)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    if (high - low > size).any():
        return None
    first = np.clip((low + high) // 2 - np.array(size) // 2, 0, np.array(lesion.shape) - size)
    return slice(int(first[0]), int(first[0]) + size[0]), slice(int(first[1]), int(first[1]) + size[1])


def examine(case: Case, size: tuple[int, int], mask: Callable[[Case], NDArray[np.bool_]]) -> Found | None:
    """What a network finds in the part of `size` around the lesion and in the image; None where none fits."""
    if case.truth is None or (box := around(case.truth.array[0] > 0, size)) is None:
        return None
    part, true = part_of(case, *box), case.truth.array > 0
    here, found = true[:, box[0], box[1]], mask(part)
    return Found(bool((found & here).any()), dice(found, here), bool((mask(case) & true).any()))


def row(root: Path, data: Path) -> list[str]:
    """One network's line."""
    workspace, recipe = open_workspace(root)
    bundle = fold_bundle(workspace, recipe, FOLD)
    names = json.loads((workspace.preprocessed / "splits_final.json").read_text())[FOLD]["val"]

    def mask(case: Case) -> NDArray[np.bool_]:
        return np.asarray(predict(case, bundle, device="cpu").mask.array > 0)

    seen = []
    for name in (name for name in names if name.endswith(SUFFIX)):
        free = open_standardised(data / name, recipe, case_id=name)
        image = name.removesuffix(SUFFIX)
        case = open_standardised(data / image, recipe, case_id=image)
        seen.append(examine(case, (free.geometry.shape[1], free.geometry.shape[2]), mask))
    fitting = [found for found in seen if found is not None]
    return [
        root.name.rpartition("-")[0].replace("-", " "),
        str(len(fitting)),
        str(sum(found.part for found in fitting)),
        f"{np.mean([found.dice for found in fitting]):.3f}",
        str(sum(found.whole for found in fitting)),
    ]


def main() -> int:
    """Write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="written by bus_bra_lesion_free.py")
    parser.add_argument("workspace", type=Path, help="of the study of bus_bra_lesion_free.toml")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the table, FILE.md")
    wanted = parser.parse_args()
    rows = [row(root, wanted.data) for root in sorted((wanted.workspace / "trained").iterdir())]
    lines = [
        "# Parts with the lesion, magnified as much as the lesion-free ones",
        "",
        "Made by `make bus-bra-lesion-free` (`benchmarks/bus_bra_magnified.py`).",
        "",
        *table(list(HEAD), rows),
    ]
    write_text(wanted.out, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
