"""BUS-BRA with pictures of breast that hold no lesion: for each image the largest part beside its lesion.

    python benchmarks/bus_bra_lesion_free.py ../shared/data/bus_bra workspace/bus_bra_lesion_free_data

The data set has no normal breasts. Written here are its images, and of each one the largest part in the
image's own proportions that keeps a margin from the lesion, where that is 40 % of the image's width and
height or more. It belongs to the image's patient and fold. Such a part is seen larger than a whole image, and
its breast is not a healthy one; what stays empty here may not on a normal breast from another hospital.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.splits import OfficialFolds, Split, write_folds
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.datasets import check_dataset, convert_dataset
from lesionlab.pipeline.files import write_converted

LEAST = 0.4
"""Smallest part worth a picture, as a share of width and height."""
MARGIN = 0.04
"""Kept from the lesion on every side, as a share of width and height."""
SUFFIX = "-free"


def lesion_free_part(lesion: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns of the largest part beside a lesion (rows, columns) in the image's proportions.

    Left, right, above or below the lesion's box; along the other axis centred on it as far as the image
    reaches. None where every part is smaller than `LEAST`, or there is no lesion.
    """
    if not lesion.any():
        return None
    size = np.array(lesion.shape)
    inside = np.argwhere(lesion)
    low = inside.min(axis=0) / size - MARGIN
    high = (inside.max(axis=0) + 1) / size + MARGIN
    share, axis, side = max(
        (room, axis, side) for axis in (0, 1) for side, room in enumerate((low[axis], 1.0 - high[axis]))
    )
    if share < LEAST:
        return None
    start = np.clip((low + high) / 2 - share / 2, 0.0, 1.0 - share)
    start[axis] = 0.0 if side == 0 else 1.0 - share
    first = np.ceil(start * size).astype(int)
    last = np.floor((start + share) * size).astype(int)
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def part_of(case: Case, rows: slice, columns: slice) -> Case:
    """The part of a 2D case and of its truth as a case of its own."""

    def cut(volume: Volume) -> Volume:
        array = np.ascontiguousarray(volume.array[:, rows, columns])
        return Volume(array, Geometry(array.shape, volume.geometry.spacing), volume.unit)

    channels = {name: cut(volume) for name, volume in case.channels.items()}
    return replace(case, channels=channels, truth=None if case.truth is None else cut(case.truth))


def with_parts(folds: OfficialFolds, parts: Mapping[str, str]) -> OfficialFolds:
    """The folds with every lesion-free part (part to image) on its image's side."""

    def side(cases: tuple[str, ...]) -> tuple[str, ...]:
        known = set(cases)
        return (*cases, *(part for part, image in parts.items() if image in known))

    splits = tuple(Split(side(split.train), side(split.val)) for split in folds.splits)
    return replace(folds, name=f"{folds.name}, lesion-free parts with their images", splits=splits)


def main() -> int:
    """Write the data set and print how many parts there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of BUS-BRA")
    parser.add_argument("out", type=Path, help="folder for the cases")
    wanted = parser.parse_args()
    checked = check_dataset("bus-bra", wanted.data)
    convert_dataset(checked, wanted.out)
    parts: dict[str, str] = {}
    for item in checked.listing.items:
        case = item.read()
        found = None if case.truth is None else lesion_free_part(case.truth.array[0] > 0)
        if case.truth is not None and found is not None:
            part = replace(part_of(case, *found), id=case.id + SUFFIX)
            write_converted(part, wanted.out / part.id, {"source": case.id, "part": str(found)})
            parts[part.id] = case.id
    if checked.listing.folds is not None:
        write_folds(with_parts(checked.listing.folds, parts), wanted.out)
    print(json.dumps({"images": checked.cases, "lesion-free parts": len(parts)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
