"""A case as read to the case that a recipe asks for: SUVbw, its channels in order, one grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import DatasetError, SuvError
from lesionlab.core.recipe import Recipe, SuvSettings
from lesionlab.core.suv import SUV_KINDS, SuvAudit
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.standardise.align import align_image, align_labels
from lesionlab.standardise.dce import phase_names, with_phases
from lesionlab.standardise.suv import STANDARD, suv_audit


def standardise(case: Case, recipe: Recipe) -> Case:
    """The recipe's channels, in its order, and the optional ones present, on the reference channel's grid.

    A `pet` channel becomes `suv` (SUVbw) where the recipe asks for `suv` and the case has none. Images are
    interpolated linearly (-1024 HU outside a CT, 0 outside the others), the truth by nearest
    neighbour; intensities are not scaled. Raises DatasetError for a missing channel, SuvError for
    a PET header without a rule, GeometryError for a channel or truth that misses the grid.
    """
    wanted = (*recipe.channels, *recipe.optional_channels)
    if recipe.biomarkers.kinetics:
        case = with_phases(case)
        wanted = tuple(dict.fromkeys((*wanted, *phase_names(case))))
    if "suv" in wanted and "suv" not in case.channels and "pet" in case.channels:
        case = with_suv(case, recipe.suv)
    missing = [name for name in recipe.channels if name not in case.channels]
    if missing:
        raise DatasetError(
            case.id,
            f"channels {', '.join(case.channels)}",
            f"channel {', '.join(missing)} (recipe {recipe.name})",
        )
    grid = case.channels[recipe.reference].geometry
    channels: dict[str, Volume] = {}
    notes: list[str] = []
    for name in wanted:
        if name in case.channels:
            channels[name], note = align_image(case.id, name, case.channels[name], grid)
            notes.append(note)
    truth = case.truth
    if truth is not None:
        truth, note = align_labels(case.id, truth, grid)
        notes.append(note)
    facts = AcquisitionFacts(
        {name: case.facts.channels[name] for name in channels if name in case.facts.channels},
        case.facts.notes,
    ).with_notes(*(n for n in notes if n))
    return replace(case, channels=channels, reference=recipe.reference, truth=truth, facts=facts)


def with_suv(case: Case, settings: SuvSettings = STANDARD) -> Case:
    """The case with its `pet` channel turned into `suv`; the audit in that channel's facts and the notes.

    Raises SuvError for a header without a rule, or none at all.
    """
    pet, facts = case.channels["pet"], case.facts.channels.get("pet", ChannelFacts())
    audit = suv_audit(case.id, facts.header, facts.slices, settings, voxel_ml=pet.geometry.voxel_ml)
    channels = {("suv" if name == "pet" else name): volume for name, volume in case.channels.items()}
    channels["suv"] = _scaled(pet, np.asarray(audit.factors), SUVBW)
    renamed = {("suv" if name == "pet" else name): value for name, value in case.facts.channels.items()}
    renamed["suv"] = replace(facts, suv=audit)
    return replace(
        case,
        channels=channels,
        reference="suv" if case.reference == "pet" else case.reference,
        facts=replace(case.facts, channels=renamed).with_notes(*audit.notes),
    )


def suv_kind(subject: str, suv: Volume, audit: SuvAudit, kind: str) -> Volume:
    """A volume in SUVbw as another kind of `SUV_KINDS`, in that kind's unit.

    Raises SuvError for an unknown kind, and for one that the header does not allow (no height).
    """
    if kind not in SUV_KINDS:
        raise SuvError(subject, f"no SUV of kind {kind!r}", f"one of {', '.join(SUV_KINDS)}")
    if kind not in audit.multiples:
        raise SuvError(subject, "; ".join(audit.flags), f"PatientWeight and PatientSize for {kind}")
    return _scaled(suv, np.full(suv.geometry.shape[0], audit.multiples[kind]), SUV_KINDS[kind].unit)


def _scaled(pet: Volume, factors: NDArray[np.float64], unit: str) -> Volume:
    return Volume((pet.array * factors[:, None, None]).astype(np.float32), pet.geometry, unit)
