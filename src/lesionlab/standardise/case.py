"""A case as read to the case that a recipe asks for: SUVbw, its channels in order, one grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lesionlab.core.case import AcquisitionFacts, Case
from lesionlab.core.errors import DatasetError
from lesionlab.core.recipe import Recipe
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.standardise.align import align_image, align_labels
from lesionlab.standardise.suv import SuvAudit, suv_audit


def standardise(case: Case, recipe: Recipe) -> Case:
    """The recipe's channels, in its order, and the optional ones present, on the reference channel's grid.

    A `pet` channel becomes `suv` (SUVbw) where the recipe asks for `suv` and the case has none. Images are
    interpolated linearly (-1024 HU outside a CT, 0 outside the others), the truth by nearest
    neighbour; intensities are not scaled. Raises DatasetError for a missing channel, SuvError for
    a PET header without a rule, GeometryError for a channel or truth that misses the grid.
    """
    wanted = (*recipe.channels, *recipe.optional_channels)
    if "suv" in wanted and "suv" not in case.channels and "pet" in case.channels:
        case = with_suv(case)
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


def with_suv(case: Case) -> Case:
    """The case with its `pet` channel turned into `suv`, the audit in the notes."""
    pet, facts = case.channels["pet"], case.facts.channels.get("pet")
    if facts is None or not facts.slices:
        audit = suv_audit(case.id, {} if facts is None else facts.header, ())
    else:
        audit = suv_audit(case.id, facts.header, facts.slices)
    channels = {("suv" if name == "pet" else name): volume for name, volume in case.channels.items()}
    channels["suv"] = _scaled(pet, audit)
    renamed = {("suv" if name == "pet" else name): value for name, value in case.facts.channels.items()}
    return replace(
        case,
        channels=channels,
        reference="suv" if case.reference == "pet" else case.reference,
        facts=replace(case.facts, channels=renamed).with_notes(*audit.notes),
    )


def _scaled(pet: Volume, audit: SuvAudit) -> Volume:
    factors = np.asarray(audit.factors, dtype=np.float64)[:, None, None]
    return Volume((pet.array * factors).astype(np.float32), pet.geometry, SUVBW)
