"""Lesions on PET by threshold, without weights: a fixed SUVbw, or a share of each lesion's own maximum.

Physiological uptake is found like any other; telling the two apart needs a network or a reader. What is
too small is removed by `refine`, not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.case import Case
from lesionlab.core.components import Box, Connectivity, components, foreground_box, regions_of
from lesionlab.core.errors import BundleError
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Prediction
from lesionlab.core.volume import Volume

Mask = NDArray[np.bool_]

BODY_HU = -300.0
"""Skin, fat and muscle lie above, air, lung and mattress foam below."""
OPENING_MM = 5.0
"""Half the thickness, in a slice, below which a structure is taken for table, tubing or blanket."""
BODY_SHARE = 0.01
"""A part of the body holds at least this share of the largest part's voxels: arms and legs stay."""


def threshold_mask(case: Case, recipe: Recipe) -> Prediction:
    """The voxels that `recipe.threshold` takes for lesion, with label 1, on the case's reference grid.

    `fixed`: SUVbw >= `suv`. `relative`: see `relative_mask`. With `body_mask`, only voxels inside the body
    found on the channel `ct`. No voxel high enough gives an empty mask; voxels that are NaN are
    never lesion. There is no probability. Raises BundleError when the recipe's reference channel is
    absent or not in SUVbw, or when the body mask is asked for and the case has no CT.
    """
    settings = recipe.threshold
    volume = _suv_channel(case, recipe.reference)
    suv = volume.array
    notes = []
    if settings.body_mask:
        body = body_mask(_ct_channel(case))
        notes.append(f"threshold: body on CT {body.sum() * volume.geometry.voxel_ml / 1000:.1f} litres")
        suv = np.where(body, suv, np.nan)
    if settings.rule == "fixed":
        mask = suv >= settings.suv
    else:
        mask, bounded = relative_mask(suv, settings.suv, settings.fraction, recipe.refine.connectivity)
        if bounded:
            notes.append(
                f"threshold: {bounded} regions would have grown into a hotter one and keep to "
                f"SUVbw >= {settings.suv:g}"
            )
    return Prediction(Volume(mask.astype(np.uint8), volume.geometry, units.ONE), notes=tuple(notes))


def _suv_channel(case: Case, name: str) -> Volume:
    if name not in case.channels:
        raise BundleError(case.id, f"channels {', '.join(case.channels)}", f"the channel {name!r}")
    volume = case.channels[name]
    if volume.unit != units.SUVBW:
        raise BundleError(case.id, f"channel {name!r} in {volume.unit}", f"SUVbw ({units.SUVBW})")
    return volume


def _ct_channel(case: Case) -> Volume:
    if "ct" not in case.channels:
        raise BundleError(
            case.id, f"channels {', '.join(case.channels)}", "the channel 'ct' for threshold.body_mask"
        )
    return case.channels["ct"]


def relative_mask(
    suv: NDArray[Any], floor: float, fraction: float, connectivity: Connectivity = 26
) -> tuple[Mask, int]:
    """Each region of SUVbw >= `floor`, redrawn at `fraction` of its own maximum.

    A connected component of voxels >= `floor` is a candidate; M is its maximum. Its lesion is the set of
    voxels >= fraction x M that is connected to M, the isocontour of the EANM guideline (Boellaard et al., Eur
    J Nucl Med Mol Imaging 2015, doi 10.1007/s00259-014-2961-x). For M below floor / fraction it
    reaches below the floor. Around a faint candidate that contour can flood the whole body; where it
    reaches a voxel hotter than M it is no longer this candidate's contour, and the candidate keeps
    its own voxels. Returns the union over all candidates, and how many were kept back so.
    """
    result = np.zeros(suv.shape, dtype=bool)
    numbers, boxes = components(suv >= floor, connectivity)
    kept_back = 0
    for number, box in enumerate(boxes, start=1):
        candidate = numbers[box] == number
        contour = _own_contour(suv, candidate, box, fraction, connectivity)
        if contour is None:
            kept_back += 1
            result[box] |= candidate
        else:
            wide, region = contour
            result[wide] |= region
    return result, kept_back


def _own_contour(
    suv: NDArray[Any], candidate: Mask, box: Box, fraction: float, connectivity: Connectivity
) -> tuple[Box, Mask] | None:
    """A box and in it the voxels >= fraction x M connected to the candidate's maximum M.

    None where a voxel above M is among them. The box grows until the region lies wholly inside, so that a
    small lesion costs a small box whatever the size of the image.
    """
    maximum = suv[box][candidate].max()
    corner = [s.start for s in box]
    peaks = np.argwhere(candidate & (suv[box] == maximum)) + corner
    margin = 2
    while True:
        wide = _widened(box, margin, suv.shape)
        values = suv[wide]
        found = regions_of(values >= fraction * maximum, connectivity)
        chosen = np.zeros(int(found.max()) + 1, dtype=bool)
        chosen[found[tuple((peaks - [s.start for s in wide]).T)]] = True
        region = chosen[found]
        if values[region].max() > maximum:
            return None
        inner = foreground_box(region)
        if inner is None or _is_inside(inner, wide, suv.shape):
            return wide, region
        margin *= 2


def _widened(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    z, y, x = (
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, shape, strict=True)
    )
    return z, y, x


def _is_inside(inner: Box, wide: Box, shape: tuple[int, ...]) -> bool:
    """True where nothing of `inner` lies on a face of `wide` beyond which the image goes on."""
    return all(
        (i.start > 0 or w.start == 0) and (i.stop < w.stop - w.start or w.stop == n)
        for i, w, n in zip(inner, wide, shape, strict=True)
    )


def body_mask(ct: Volume) -> Mask:
    """The patient on a CT in HU: what is above -300 HU, without table and tubing, holes filled by slice.

    Slices are opened by OPENING_MM to take off what is thin (table, mattress cover, tubing); of what is left,
    the largest component stays and with it every other of at least BODY_SHARE of its size (arms,
    legs), grown back to its own edge. Lungs and bowel gas are filled. A table thicker than twice
    OPENING_MM that touches the patient stays. All False where nothing is above -300 HU.
    """
    above = ct.array > BODY_HU
    steps = max(1, round(OPENING_MM / max(ct.geometry.spacing[1:])))
    # The margin is air, so that the box's own border protects nothing from the opening.
    box = foreground_box(above, margin=steps + 1)
    body = np.zeros(above.shape, dtype=bool)
    if box is None:
        return body
    cross = scipy.ndimage.generate_binary_structure(2, 1)[None]
    tissue = above[box]
    # A slice that is all body must not be eroded from the border of the image.
    thick = scipy.ndimage.binary_erosion(tissue, cross, iterations=steps, border_value=1)
    numbers, _ = components(thick, 6)
    sizes = np.bincount(numbers.ravel())
    large = sizes >= BODY_SHARE * sizes[1:].max(initial=0)
    large[0] = False
    grown = scipy.ndimage.binary_dilation(large[numbers], cross, iterations=steps + 1) & tissue
    body[box] = [scipy.ndimage.binary_fill_holes(piece) for piece in grown]
    return body
