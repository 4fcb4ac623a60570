"""Patches for a network that refines what another located: around lesions, and around what was found wrongly.

Numbers only; nnU-Net's loader, which cuts the patches, is driven in `nnunet.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.train.sampling import lesion_locations

WRONG_SHARE = 0.5
"""Share of the patches around what was found wrongly, in cases that have lesions and such."""
SHIFT_SHARE = 0.25
"""How far from the middle of the patch its place may lie, as a share of the patch: crops are not centred."""


class AroundLocated:
    """nnU-Net's data set, telling its loader places as crops have them when a scan is examined.

    Half of the forced patches of a case lie around its lesions, wherever `data` says, half around the regions
    that the first network took for a lesion wrongly, each equally often. All are shifted at random.
    `wrong` gives a case's mask (z, y, x) of such regions, read when the case is first drawn.
    """

    def __init__(self, data: Any, wrong: Callable[[str], NDArray[Any]], patch: Sequence[int]) -> None:
        self.data, self.wrong = data, wrong
        self.identifiers: list[str] = data.identifiers
        self.reach = [int(size * SHIFT_SHARE) for size in patch]
        self.found: dict[str, list[NDArray[np.int64]]] = {}

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """What nnU-Net's own data set gives, with the locations changed."""
        image, labels, previous, properties = self.data.load_case(identifier)
        if identifier not in self.found:
            self.found[identifier] = lesion_locations(self.wrong(identifier), [1]).get(1, [])
        places: dict[Any, Any] = properties["class_locations"]
        lesions = any(len(voxels) for key, voxels in places.items() if not isinstance(key, tuple))
        wrong = self.found[identifier]
        # nnU-Net's loader draws from numpy's global state too
        if wrong and (not lesions or np.random.random() < WRONG_SHARE):  # noqa: NPY002
            kept = {key: voxels for key, voxels in places.items() if isinstance(key, tuple)}
            places = {**kept, **dict(enumerate(wrong))}
        moved = {key: self._shifted(voxels, image.shape[1:]) for key, voxels in places.items()}
        return image, labels, previous, {**properties, "class_locations": moved}

    def _shifted(self, voxels: Any, shape: Sequence[int]) -> Any:
        """Voxels (n, 4), the channel first, all moved by the same random step, and kept in the image."""
        if len(voxels) == 0:
            return voxels
        step = [np.random.randint(-reach, reach + 1) for reach in self.reach]  # noqa: NPY002
        moved = np.asarray(voxels) + np.array([0, *step])
        return np.clip(moved, 0, [0, *(n - 1 for n in shape)])
