"""What is known about a conversion to SUV: the audit, and the kinds of SUV by name.

Only containers and a literal table. The rules that fill them belong to `standardise/suv*.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from lesionlab.core.units import SUVBW


@dataclass(frozen=True, slots=True)
class SuvKind:
    """One way to normalise uptake: its UCUM unit, its DICOM code, and what the body is measured by."""

    unit: str
    code: str
    meaning: str


SUV_KINDS: Final[Mapping[str, SuvKind]] = {
    "SUVbw": SuvKind(SUVBW, "DCM:126401", "body weight"),
    "SUVlbm-morgan": SuvKind("g/ml{SUVlbm}", "DCM:126402", "lean body mass after Morgan (120 for men)"),
    "SUVlbm-james128": SuvKind(
        "g/ml{SUVlbm(James128)}", "DCM:126406", "lean body mass after James (128 for men)"
    ),
    "SUVlbm-janmahasatian": SuvKind(
        "g/ml{SUVlbm(Janma)}", "DCM:126405", "lean body mass after Janmahasatian"
    ),
    "SUVibw": SuvKind("g/ml{SUVibw}", "DCM:126404", "ideal body weight"),
    "SUVbsa": SuvKind("cm2/ml{SUVbsa}", "DCM:126403", "body surface area after DuBois"),
}
"""Kinds by the name that options and results carry; lean body mass always names its formula."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible moment of decay correction, and the SUVbw factor that it would give."""

    rule: str
    reference: datetime
    factor: float

    def __str__(self) -> str:
        return f"{self.rule} {self.reference:%H:%M:%S} (factor {self.factor:.6g})"


@dataclass(frozen=True, slots=True)
class SuvAudit:
    """How SUVbw came about: `factors` holds one number per slice, to be multiplied with its values.

    `tags` are the attributes that decided; `candidates` the decay references that were possible, the
    one taken first (none where no reference is needed); `warnings` what a reader should know.
    `multiples` turns SUVbw into the other kinds of `SUV_KINDS`, as far as the header allows, and
    `flags` say what they assume or why they are absent. `quantities` holds what the factors were
    computed from (weight_kg, activity_bq, half_life_s; uptake_s from `administered` to the first
    acquisition), as far as the rule needed it; none where the values were SUV already.
    """

    rule: str
    tags: tuple[str, ...]
    factors: tuple[float, ...]
    candidates: tuple[Candidate, ...] = ()
    warnings: tuple[str, ...] = ()
    multiples: Mapping[str, float] = field(default_factory=lambda: {"SUVbw": 1.0})
    flags: tuple[str, ...] = ()
    quantities: Mapping[str, float] = field(default_factory=dict)
    administered: datetime | None = None

    @property
    def span(self) -> str:
        """The factor, or its smallest and largest where it differs by slice, as text."""
        low, high = min(self.factors), max(self.factors)
        return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The audit in plain sentences, for the case's notes."""
        first = f"SUVbw by {self.rule}: factor {self.span}, from {', '.join(self.tags)}"
        rejected = [f"SUVbw: not taken: {candidate}" for candidate in self.candidates[1:]]
        return (first, *rejected, *(f"SUVbw warning: {w}" for w in self.warnings))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SuvAudit:
        """The audit that `record` was made from; KeyError, TypeError or ValueError for anything else."""
        candidates = tuple(
            Candidate(str(c["rule"]), datetime.fromisoformat(c["reference"]), float(c["factor"]))
            for c in record["candidates"]
        )
        return cls(
            str(record["rule"]),
            tuple(map(str, record["tags"])),
            tuple(map(float, record["factors"])),
            candidates,
            tuple(map(str, record["warnings"])),
            {str(kind): float(multiple) for kind, multiple in record["multiples_of_suvbw"].items()},
            tuple(map(str, record["flags"])),
            {str(name): float(value) for name, value in record.get("quantities", {}).items()},
            datetime.fromisoformat(record["administered"]) if record.get("administered") else None,
        )

    def record(self) -> dict[str, Any]:
        """The audit as plain data for JSON; a candidate's `taken` tells the one that counted."""
        return {
            "rule": self.rule,
            "tags": list(self.tags),
            "factor_minimum": min(self.factors),
            "factor_maximum": max(self.factors),
            "factors": list(self.factors),
            "candidates": [
                {
                    "rule": candidate.rule,
                    "reference": candidate.reference.isoformat(),
                    "factor": candidate.factor,
                    "taken": position == 0,
                }
                for position, candidate in enumerate(self.candidates)
            ],
            "warnings": list(self.warnings),
            "multiples_of_suvbw": dict(self.multiples),
            "flags": list(self.flags),
            "quantities": dict(self.quantities),
            "administered": None if self.administered is None else self.administered.isoformat(),
        }
