"""What a run produces: prediction, lesion table, scores, provenance, and all of it as findings.

Only containers. Computing them belongs to the stages, writing them to `report/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from lesionlab.core.case import Case
from lesionlab.core.volume import Volume

Wanted = bool | Literal["every"]
"""Of which labels a probability is wanted: of none, of the first, or of every one."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Where the method sees lesions, on the case's reference grid.

    `mask` holds integer labels (0 = background); after `refine`, `raw_mask` keeps the mask as predicted.
    `probability` is float32 in [0, 1] for the first label, or None when the method has none or it
    was not asked for; `others` are those of the further labels, where every one was asked for. `notes` say
    what happened on the way.
    """

    mask: Volume
    probability: Volume | None = None
    raw_mask: Volume | None = None
    notes: tuple[str, ...] = ()
    others: tuple[Volume, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A measured quantity: short name, UCUM unit, what it is, and its code ("DCM:126401", "IBSI:0GBQ")."""

    name: str
    unit: str
    meaning: str
    code: str = ""


@dataclass(frozen=True, eq=False)
class LesionTable:
    """Lesions numbered from 1 in rows; patient totals beside them.

    `labels` is the int32 volume of lesion numbers on the reference grid (0 = none). A value that cannot be
    computed is NaN, with the reason in `notes`. No lesion gives no rows, zero totals and NaN
    where a total is undefined.
    """

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, float], ...]
    total_columns: tuple[Column, ...]
    totals: Mapping[str, float]
    labels: Volume
    notes: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)
    """What the mask's labels are called, where there are several."""

    def named(self, labels: Mapping[str, int]) -> LesionTable:
        """The same table knowing what several labels are called; with one label nothing changes."""
        if len(labels) < 2:
            return self
        said = ", ".join(f"{number} = {name}" for name, number in labels.items())
        columns = tuple(
            replace(column, meaning=f"{column.meaning}: {said}") if column.name == "label" else column
            for column in self.columns
        )
        names = {number: name for name, number in labels.items()}
        return replace(self, columns=columns, label_names=names)


@dataclass(frozen=True)
class Scores:
    """Agreement of one mask with the truth: metric name to value, undefined ones NaN with a note."""

    case_id: str
    values: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Where every number comes from; goes into run.json and onto the report's last section."""

    versions: Mapping[str, str]
    recipe_name: str
    recipe_sha256: str
    bundle: str
    bundle_sha256: str
    inputs: Mapping[str, str]
    """Channel name to the hash of its files' content."""
    seconds: Mapping[str, float]
    device: str
    started: str
    settings: Mapping[str, object] = field(default_factory=dict)
    """The whole recipe as data."""
    source: str = ""
    """Path of the scan, so that a report can be made again from it; empty when it had none."""
    truth: str = ""
    """Path of the truth given separately; empty when none was."""
    suv: Mapping[str, object] = field(default_factory=dict)
    """How SUVbw was computed, as `SuvAudit.record` gives it; empty when the scan held SUV already."""


@dataclass(frozen=True, eq=False)
class Findings:
    """One patient's result: everything that `report/` reads."""

    case: Case
    prediction: Prediction
    lesions: LesionTable
    provenance: Provenance
    scores: Scores | None = None
    """Present when the case came with a truth."""
