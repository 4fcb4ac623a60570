"""The phases of a DCE series as a noun: volumes on one grid in the order of time.

Finding them in a case and timing them is `standardise/dce.py`'s work, measuring `measure/kinetics.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from lesionlab.core.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Phases:
    """Two or more phases on one grid, the first before contrast.

    `times_s` holds, per phase, the seconds from the injection to the middle of its acquisition (negative
    before it), or None when they are not known; `notes` say where they come from.
    """

    names: tuple[str, ...]
    volumes: tuple[Volume, ...]
    times_s: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
