"""DCE kinetics of lesions: the mean curve's enhancement, classes of voxels, functional tumour volume; maps.

The voxel arithmetic is in `enhancement.py`; phases and their times come from `standardise/dce.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.components import Box, foreground_box
from lesionlab.core.errors import RecipeError
from lesionlab.core.phases import Phases
from lesionlab.core.results import Column
from lesionlab.core.settings import KineticsSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import Added, together
from lesionlab.measure.enhancement import Enhancement, background_limit, enhancement

SER_EDGES: Final = (0.9, 1.0, 1.3, 1.75)
"""Borders of the SER classes that the group of Hylton (UCSF) draws its maps in; lower ends belong above."""
SER_NAMES: Final = (
    "FTV_SER_below_0.9",
    "FTV_SER_0.9_to_1.0",
    "FTV_SER_1.0_to_1.3",
    "FTV_SER_1.3_to_1.75",
    "FTV_SER_from_1.75",
)
PER_SECOND: Final = "%/s"
PERCENT_SECONDS: Final = "%.s"


def kinetic_columns(settings: KineticsSettings) -> tuple[Column, ...]:
    """The columns that `kinetics` adds per lesion, the settings' numbers in their meaning."""
    early = f"phase post{settings.early}"
    late = "the last phase" if settings.late is None else f"phase post{settings.late}"
    percent = settings.enhancing
    curve = "of the mean curve (signal averaged over the lesion's analysed voxels)"
    enhancing = f"enhancing voxels (those of FTV, PE >= {percent:g} %)"
    ranges = ("below 0.9", "from 0.9 to below 1.0", "from 1.0 to below 1.3", "from 1.3 to below 1.75")
    return (
        Column(
            "analysed_share",
            units.ONE,
            "share of the lesion's voxels whose signal before contrast reaches the background limit",
        ),
        Column("PE_early", units.PERCENT, f"100 (S - S0) / S0 in {early}, {curve}"),
        Column("PE_late", units.PERCENT, f"100 (S - S0) / S0 in {late}, {curve}"),
        Column("PE_peak", units.PERCENT, f"highest 100 (S - S0) / S0 of any phase, {curve}"),
        Column("PE_early_max", units.PERCENT, f"highest 100 (S - S0) / S0 of an analysed voxel in {early}"),
        Column("SER", units.ONE, f"(S_early - S0) / (S_late - S0) from {early} and {late}, {curve}"),
        Column(
            "signal_change",
            units.PERCENT,
            f"100 (S_late - S_early) / S_early from {early} to {late}, {curve}",
        ),
        Column(
            "curve_type",
            units.ONE,
            f"1 persistent: signal_change above {settings.plateau:g} %; 2 plateau; "
            f"3 washout: below -{settings.plateau:g} %",
        ),
        Column(
            "time_to_peak",
            units.SECOND,
            f"time from injection to the phase of PE_peak, {curve}",
            "DCM:113069",
        ),
        Column(
            "upslope",
            PER_SECOND,
            f"steepest rise of PE between successive phases, 0 % at the injection, {curve}",
        ),
        Column(
            "AUC",
            PERCENT_SECONDS,
            f"area under PE from the injection to {settings.auc_s:g} s, straight between phases, {curve}",
        ),
        _ftv(settings),
        Column("persistent_share", units.ONE, f"share of type 1 among {enhancing}"),
        Column("plateau_share", units.ONE, f"share of type 2 among {enhancing}"),
        Column("washout_share", units.ONE, f"share of type 3 among {enhancing}"),
        *(
            Column(name, units.MILLILITRE, f"volume of {enhancing} with SER {where}")
            for name, where in zip(SER_NAMES, (*ranges, "of 1.75 and above"), strict=True)
        ),
    )


def _ftv(settings: KineticsSettings) -> Column:
    crowd = f" and {settings.neighbours} such neighbours of 26" if settings.neighbours else ""
    return Column(
        "FTV",
        units.MILLILITRE,
        f"functional tumour volume: analysed voxels with PE >= {settings.enhancing:g} % in phase "
        f"post{settings.early}, late signal above S0{crowd}",
    )


def check_phases(phases: Phases, settings: KineticsSettings) -> None:
    """Raise RecipeError when the settings' early or late phase is none that there is."""
    last = len(phases.names) - 1
    for name in ("early", "late"):
        value = getattr(settings, name)
        if value is not None and value > last:
            raise RecipeError("kinetics", f"{name} = {value} with phases up to post{last}", f"at most {last}")


def kinetics(phases: Phases, labels: Volume, settings: KineticsSettings) -> Added:
    """What the lesions numbered in `labels` (int32, 0 = none) enhance like.

    Lesion values are those of the mean curve over analysed voxels; shares and volumes count voxels. The
    background limit is common to all lesions. What is undefined is NaN with a note: no analysed voxel,
    unknown times, a last phase before `auc_s`, a single phase after contrast, no enhancing voxel.
    No lesion gives no rows and an FTV of 0. Raises RecipeError for a phase that there is not.
    """
    check_phases(phases, settings)
    columns, total = kinetic_columns(settings), (_total(settings),)
    inside = foreground_box(labels.array)
    if inside is None:
        return Added(columns, (), total, {"FTV": 0.0}, phases.notes)
    box = foreground_box(labels.array, margin=1) or inside
    limit = background_limit(phases.volumes[0].array[inside], settings)
    maps = enhancement(tuple(v.array[box] for v in phases.volumes), phases.times_s, settings, limit)
    signals = tuple(v.array[box] for v in phases.volumes)
    numbers = labels.array[box]
    rows, notes = [], []
    for number, found in enumerate(scipy.ndimage.find_objects(numbers), start=1):
        lesion = numbers[found] == number
        row = _counted(maps, found, lesion, labels.geometry.voxel_ml)
        curve = _mean_curve(signals, maps.analysed[found] & lesion, found)
        values, remarks = _of_curve(curve, phases.times_s, settings)
        rows.append({c.name: (row | values).get(c.name, math.nan) for c in columns})
        if row["FTV"] == 0:
            remarks.append("no enhancing voxel: shares of the curve types are undefined")
        notes += [(number, remark) for remark in remarks]
    stated = f"kinetics: background limit {limit:.6g} before contrast"
    totals = {"FTV": math.fsum(row["FTV"] for row in rows)}
    return Added(columns, tuple(rows), total, totals, (*phases.notes, stated, *together(notes)))


def _total(settings: KineticsSettings) -> Column:
    column = _ftv(settings)
    return Column(column.name, column.unit, f"sum over the lesions; {column.meaning}")


def _counted(maps: Enhancement, box: Box, lesion: NDArray[np.bool_], voxel_ml: float) -> dict[str, float]:
    """The columns that count voxels of one lesion."""
    analysed = maps.analysed[box] & lesion
    enhancing = maps.enhancing[box] & lesion
    early = maps.percent_early[box][analysed]
    count = int(enhancing.sum())
    row = {
        "analysed_share": float(analysed.sum() / lesion.sum()),
        "PE_early_max": float(early.max()) if early.size else math.nan,
        "FTV": count * voxel_ml,
    }
    if count and maps.curve[box][enhancing].all():
        classes = np.bincount(maps.curve[box][enhancing], minlength=4)[1:] / count
        row |= dict(
            zip(("persistent_share", "plateau_share", "washout_share"), classes.tolist(), strict=True)
        )
    ratios = maps.ratio[box][enhancing]
    if not np.isnan(ratios).any():
        bins = np.bincount(np.digitize(ratios, SER_EDGES), minlength=len(SER_NAMES)) * voxel_ml
        row |= dict(zip(SER_NAMES, bins.tolist(), strict=True))
    return row


def _mean_curve(
    signals: tuple[NDArray[Any], ...], analysed: NDArray[np.bool_], box: Box
) -> tuple[NDArray[Any], ...]:
    """Mean signal per phase over the analysed voxels, each as an array of one voxel; empty when none is."""
    if not analysed.any():
        return ()
    means = (float(s[box][analysed].mean(dtype=np.float64)) for s in signals)
    return tuple(np.full((1, 1, 1), mean) for mean in means)


def _of_curve(
    curve: tuple[NDArray[Any], ...], times_s: tuple[float, ...] | None, settings: KineticsSettings
) -> tuple[dict[str, float], list[str]]:
    """The columns of the mean curve, and why some are undefined."""
    if not curve:
        return {}, ["no voxel reaches the background limit before contrast: kinetics are undefined"]
    notes = []
    maps = enhancement(curve, times_s, settings, 0.0)
    late = settings.late or len(curve) - 1
    values = {
        "PE_early": maps.percent_early.item(),
        "PE_late": maps.percent[late - 1].item(),
        "PE_peak": maps.peak.item(),
        "SER": maps.ratio.item(),
        "signal_change": maps.change.item(),
        "curve_type": float(maps.curve.item()) or math.nan,
    }
    if late == settings.early:
        notes.append("one phase after contrast: SER, signal_change, curve_type and shares are undefined")
    elif math.isnan(values["SER"]):
        notes.append("late signal equals that before contrast: SER is undefined")
    if times_s is None:
        notes.append("phase times unknown: time_to_peak, upslope and AUC are undefined")
        return values, notes
    for name, array in (
        ("time_to_peak", maps.time_to_peak),
        ("upslope", maps.upslope),
        ("AUC", maps.auc),
    ):
        if array is not None:
            values[name] = array.item()
    if maps.auc is None:
        notes.append(f"the last phase lies before {settings.auc_s:g} s: AUC is undefined")
    return values, notes


def kinetic_maps(phases: Phases, labels: Volume, settings: KineticsSettings) -> Mapping[str, Volume]:
    """Maps over the whole grid by name, NaN where undefined: `pe_post1` ..., `ser`, `signal_change`,
    `curve_type` (0 none, 1 persistent, 2 plateau, 3 washout), `enhancing` (0/1), `pe_peak`, and, with
    times, `time_to_peak`, `upslope`, `auc`.

    The background limit is taken around the lesions in `labels`, or over the whole image without any.
    """
    check_phases(phases, settings)
    inside = foreground_box(labels.array)
    before = phases.volumes[0].array
    limit = background_limit(before if inside is None else before[inside], settings)
    maps = enhancement(tuple(v.array for v in phases.volumes), phases.times_s, settings, limit)
    found: dict[str, tuple[NDArray[Any] | None, str]] = {
        **{f"pe_{n}": (p, units.PERCENT) for n, p in zip(phases.names[1:], maps.percent, strict=True)},
        "pe_peak": (maps.peak, units.PERCENT),
        "ser": (maps.ratio, units.ONE),
        "signal_change": (maps.change, units.PERCENT),
        "curve_type": (maps.curve, units.ONE),
        "enhancing": (maps.enhancing.astype(np.uint8), units.ONE),
        "time_to_peak": (maps.time_to_peak, units.SECOND),
        "upslope": (maps.upslope, PER_SECOND),
        "auc": (maps.auc, PERCENT_SECONDS),
    }
    return {
        name: Volume(array.astype(np.float32) if array.dtype.kind == "f" else array, labels.geometry, unit)
        for name, (array, unit) in found.items()
        if array is not None
    }
