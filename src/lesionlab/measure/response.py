"""What changed between two timepoints of one patient: per lesion, and in total.

Both timepoints come measured and in one space. Who belongs to whom is decided in `matching`, what the change
means in `percist`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.components import foreground_box
from lesionlab.core.errors import DatasetError
from lesionlab.core.grid import require_same_grid, resample
from lesionlab.core.response import Change, Match, Percist, Response
from lesionlab.core.results import Column, LesionTable
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.matching import RULE, WITHIN_MM, match_lesions
from lesionlab.measure.percist import Uptake, percist
from lesionlab.measure.references import References
from lesionlab.measure.uptake import hottest, peak, sphere_weights

QUANTITIES: Final = {
    "SUVmax": (units.SUVBW, "highest"),
    "SUVpeak": (units.SUVBW, "highest"),
    "SULpeak": ("g/ml{SUVlbm}", "highest"),
    "MTV": (units.MILLILITRE, "sum"),
    "TLG": (units.GRAM, "sum"),
    "diameter_3d": (units.MILLIMETRE, "highest"),
}
"""What is compared, its unit, and how lesions that were matched together are combined."""
SUL: Final = ("g/ml{SUVlbm}", "lean body mass")


@dataclass(frozen=True, eq=False)
class Timepoint:
    """One scan, measured: its SUVbw image, lesions and reference regions, in the space of both.

    `lesions` is a table of `measure` whose `labels` lie on the image's grid. `sul_factor` turns SUVbw into
    SUL (lean body mass / weight), NaN where it is not known. `peak_ml` and `peak_centre` say how the table's
    SUVpeak was taken, and so how that where a lesion was.
    """

    image: Volume
    lesions: LesionTable
    references: References
    sul_factor: float
    peak_ml: float = 1.0
    peak_centre: str = "any_voxel"


def respond(
    subject: str,
    baseline: Timepoint,
    followup: Timepoint,
    *,
    within_mm: float = WITHIN_MM,
    sul: tuple[str, str] = SUL,
) -> Response:
    """Compare two timepoints; `within_mm` is how far centroids may lie apart to be the same lesion.

    `sul` is the unit of SUL and its formula in words.

    Without lesions at a timepoint its total volume is 0 and its highest uptake undefined. Raises
    DatasetError for tables that were not measured in SUVbw, GeometryError for lesions off the image's grid.
    """
    for name, one in (("baseline", baseline), ("follow-up", followup)):
        if one.image.unit != units.SUVBW:
            raise DatasetError(subject, f"a {name} in {one.image.unit}", f"a channel in {units.SUVBW}")
        require_same_grid(f"{subject}: lesions of the {name}", one.image, one.lesions.labels)
    matches = match_lesions(baseline.lesions.labels, followup.lesions.labels, within_mm)
    changes = tuple(_change(match, baseline, followup) for match in matches)
    totals = _totals(baseline, followup)
    verdict = percist(
        _uptake(baseline, changes, "baseline"),
        _uptake(followup, changes, "followup"),
        changes,
        totals.percent["TLG"],
    )
    return Response(
        changes=changes,
        totals=totals,
        percist=verdict,
        quantities={name: unit for name, (unit, _) in QUANTITIES.items()} | {"SULpeak": sul[0]},
        columns=columns(sul),
        rule=RULE.format(within=within_mm),
        notes=(*_notes(changes, verdict), *_unseen(changes, baseline, followup)),
    )


def percent_change(before: float, after: float) -> float:
    """100 x (after - before) / before; NaN where either is unknown or there was nothing before."""
    if math.isnan(before) or math.isnan(after) or before == 0:
        return math.nan
    return 100.0 * (after - before) / before


def columns(sul: tuple[str, str]) -> tuple[Column, ...]:
    """Columns of a table of changes, three for each quantity."""
    found: list[Column] = []
    for name, (own, how) in QUANTITIES.items():
        several = "sum over" if how == "sum" else "highest of"
        unit = sul[0] if name == "SULpeak" else own
        if name == "SULpeak":
            several = f"SUVpeak by {sul[1]}; {several}"
        for when, words in (("baseline", "at baseline"), ("followup", "at follow-up")):
            found.append(Column(f"{name}_{when}", unit, f"{name} {words}; {several} the matched lesions"))
        meaning = f"change of {name} from baseline to follow-up, in percent of baseline"
        found.append(Column(f"{name}_change", "%", meaning))
    return tuple(found)


def _change(match: Match, baseline: Timepoint, followup: Timepoint) -> Change:
    before, after = _combined(baseline, match.baseline), _combined(followup, match.followup)
    if match.kind == "vanished":
        after = _residual(match.baseline, baseline, followup) | {"MTV": 0.0, "TLG": 0.0, "diameter_3d": 0.0}
    return Change(match, before, after, _percent(before, after))


def _percent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: percent_change(before[name], after[name]) for name in QUANTITIES}


def _combined(timepoint: Timepoint, lesions: Sequence[int]) -> dict[str, float]:
    """The quantities of several lesions taken as one; NaN without any, or where one of them is unknown."""
    rows = [row for row in timepoint.lesions.rows if int(row["lesion"]) in lesions]
    result = {}
    for name, (_, how) in QUANTITIES.items():
        factor = timepoint.sul_factor if name == "SULpeak" else 1.0
        values = [row["SUVpeak" if name == "SULpeak" else name] * factor for row in rows]
        known = bool(values) and not any(math.isnan(value) for value in values)
        result[name] = (math.fsum(values) if how == "sum" else max(values)) if known else math.nan
    return result


def _residual(lesions: Sequence[int], baseline: Timepoint, followup: Timepoint) -> dict[str, float]:
    """Uptake at follow-up inside the outline that vanished lesions had at baseline."""
    labels = baseline.lesions.labels
    outline = labels.with_array(np.isin(labels.array, lesions).astype(np.uint8))
    carried = resample(outline, followup.image.geometry, order=0, outside=0.0).array > 0
    # a lesion between the centres of coarser voxels has a place too
    carried[tuple(_voxels_of(labels, lesions, followup.image.geometry).T)] = True
    box = foreground_box(carried)
    if box is None:
        return {"SUVmax": math.nan, "SUVpeak": math.nan, "SULpeak": math.nan}
    region = carried[box] & np.isfinite(followup.image.array[box])
    if not region.any():
        return {"SUVmax": math.nan, "SUVpeak": math.nan, "SULpeak": math.nan}
    weights = sphere_weights(followup.image.geometry.spacing, followup.peak_ml)
    on_maximum = followup.peak_centre == "hottest_voxel"
    centres = hottest(followup.image.array[box], region) if on_maximum else region
    highest, _ = peak(followup.image.array, centres, box, weights)
    return {
        "SUVmax": float(followup.image.array[box][region].max()),
        "SUVpeak": highest,
        "SULpeak": highest * followup.sul_factor,
    }


def _voxels_of(labels: Volume, lesions: Sequence[int], grid: Geometry) -> NDArray[np.int64]:
    """The voxels (n, 3) of another grid in which voxel centres of some lesions lie; none outside it."""
    places = labels.geometry.to_world(np.argwhere(np.isin(labels.array, lesions)))
    index = np.floor(grid.to_index(places) + 0.5).astype(np.int64)
    return np.asarray(index[((index >= 0) & (index < grid.shape)).all(axis=1)], dtype=np.int64)


def _totals(baseline: Timepoint, followup: Timepoint) -> Change:
    """All lesions of each timepoint as one; volumes are 0, not unknown, where there is no lesion."""
    both = []
    for timepoint in (baseline, followup):
        numbers = tuple(int(row["lesion"]) for row in timepoint.lesions.rows)
        empty = {} if numbers else {"MTV": 0.0, "TLG": 0.0}
        both.append((numbers, _combined(timepoint, numbers) | empty))
    (old, before), (new, after) = both
    match = Match("regrouped", old, new, math.nan, math.nan)
    return Change(match, before, after, _percent(before, after))


def _uptake(timepoint: Timepoint, changes: Sequence[Change], when: str) -> Uptake:
    """What PERCIST asks of a timepoint: its hottest lesion, or what is left where lesions were."""
    values = [getattr(change, when)["SULpeak"] for change in changes if getattr(change.match, when)]
    drawn = bool(values)
    if not drawn and when == "followup":
        values = [change.followup["SULpeak"] for change in changes]
    known = bool(values) and not any(math.isnan(value) for value in values)
    return Uptake(max(values) if known else math.nan, drawn, timepoint.references, timepoint.sul_factor)


def _notes(changes: Sequence[Change], verdict: Percist) -> list[str]:
    notes = []
    for change in changes:
        match = change.match
        if match.kind in ("split", "merged", "regrouped"):
            notes.append(
                f"lesions {_listed(match.baseline)} at baseline and {_listed(match.followup)} at follow-up "
                f"overlap ({match.kind}): compared together, highest uptake and diameter, volumes added"
            )
        if match.kind == "vanished" and math.isnan(change.followup["SUVmax"]):
            notes.append(
                f"lesion {_listed(match.baseline)} vanished, and its place lies outside the follow-up scan"
            )
    return notes + list(verdict.notes)


def _unseen(changes: Sequence[Change], baseline: Timepoint, followup: Timepoint) -> list[str]:
    """Warnings about new lesions whose place the baseline scan did not show."""
    labels, grid = followup.lesions.labels, baseline.image.geometry
    fresh = [change.match.followup for change in changes if change.match.kind == "new"]
    return [
        f"warning: lesion {_listed(lesions)} counts as new, but its place lies outside the baseline scan"
        for lesions in fresh
        if not len(_voxels_of(labels, lesions, grid))
    ]


def _listed(numbers: Sequence[int]) -> str:
    return " + ".join(str(number) for number in numbers)
