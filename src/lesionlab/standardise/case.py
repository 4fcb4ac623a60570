"""A case as read to the case that a recipe asks for: SUVbw, its channels in order, one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.consensus import consensus
from lesionlab.core.errors import DatasetError, SuvError
from lesionlab.core.recipe import Recipe, SuvSettings
from lesionlab.core.suv import SUV_KINDS, SuvAudit
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.standardise.align import align_image, align_labels
from lesionlab.standardise.dce import phase_names, with_phases
from lesionlab.standardise.suv import STANDARD, suv_audit


def standardise(case: Case, recipe: Recipe) -> Case:
    """The recipe's channels, in its order, and the optional ones present, on the reference channel's grid.

    A `pet` channel becomes `suv` (SUVbw) where the recipe asks for `suv` and the case has none. Images are
    interpolated linearly (-1024 HU outside a CT, 0 outside the others), the truth by nearest
    neighbour; intensities are not scaled. Where several readers drew, the truth is what the recipe's
    `standardise.truth` makes of their masks. Raises DatasetError for a missing channel, SuvError for
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
        named = f"; a file is the channel that its name says: NAME_{missing[0]}.nii.gz"
        raise DatasetError(
            case.id,
            f"channels {', '.join(case.channels)}",
            f"channel {', '.join(missing)} (recipe {recipe.name}){named * ('image' in case.channels)}",
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
    observers = {name: align_labels(case.id, mask, grid)[0] for name, mask in case.observers.items()}
    if observers:
        truth, note = agreed(case.id, observers, recipe.standardise.truth)
        notes.append(note)
    facts = AcquisitionFacts(
        {name: case.facts.channels[name] for name in channels if name in case.facts.channels},
        case.facts.notes,
    ).with_notes(*(n for n in notes if n))
    return replace(
        case,
        channels=channels,
        reference=recipe.reference,
        truth=truth,
        facts=facts,
        observers=observers,
    )


def agreed(case_id: str, observers: Mapping[str, Volume], rule: str) -> tuple[Volume, str]:
    """The truth that a rule (`standardise.truth`) makes of several readers' masks, and a note that says so.

    With one label it is their consensus; several labels are agreed on one after another, and where two of
    them meet, the later wins. Raises DatasetError, naming the case, for a rule that is no reader's name
    either.
    """
    first = next(iter(observers.values()))
    labels = sorted({int(n) for mask in observers.values() for n in np.unique(mask.array)} - {0})
    truth = np.zeros(first.array.shape, dtype=np.min_scalar_type(max(labels, default=1)))
    for label in labels or [1]:
        masks = {name: mask.array == label for name, mask in observers.items()}
        try:
            truth[consensus(masks, rule)] = label
        except DatasetError as error:
            raise DatasetError(case_id, error.found, error.needed) from None
    return first.with_array(truth, ONE), f"truth: {rule} of the readers {', '.join(observers)}"


def with_suv(case: Case, settings: SuvSettings = STANDARD) -> Case:
    """The case with its `pet` channel turned into `suv`; the audit in that channel's facts and the notes.

    Raises SuvError for a header without a rule, or none at all.
    """
    volume, audit = suv_volume(case, "SUVbw", settings)
    channels = {("suv" if name == "pet" else name): channel for name, channel in case.channels.items()}
    channels["suv"] = volume
    renamed = {("suv" if name == "pet" else name): value for name, value in case.facts.channels.items()}
    renamed["suv"] = replace(_pet_facts(case), suv=audit)
    return replace(
        case,
        channels=channels,
        reference="suv" if case.reference == "pet" else case.reference,
        facts=replace(case.facts, channels=renamed).with_notes(*audit.notes),
    )


def suv_volume(case: Case, kind: str, settings: SuvSettings = STANDARD) -> tuple[Volume, SuvAudit]:
    """The `pet` channel as SUV of a kind of `SUV_KINDS`, in that kind's unit, and how it came about.

    Raises SuvError for a header without a rule, an unknown kind, and a kind that the header does not allow.
    """
    pet, facts = case.channels["pet"], _pet_facts(case)
    if kind not in SUV_KINDS:
        raise SuvError(case.id, f"no SUV of kind {kind!r}", f"one of {', '.join(SUV_KINDS)}")
    audit = suv_audit(case.id, facts.header, facts.slices, settings, voxel_ml=pet.geometry.voxel_ml)
    if kind not in audit.multiples:
        raise SuvError(case.id, "; ".join(audit.flags), f"PatientWeight and PatientSize for {kind}")
    factors = np.asarray(audit.factors) * audit.multiples[kind]
    scaled = (pet.array * factors[:, None, None]).astype(np.float32)
    return Volume(scaled, pet.geometry, SUV_KINDS[kind].unit), audit


def _pet_facts(case: Case) -> ChannelFacts:
    return case.facts.channels.get("pet", ChannelFacts())
