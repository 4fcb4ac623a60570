"""PERCIST 1.0: from two timepoints' hottest uptake to a category, every threshold with its source.

Wahl RL, Jacene H, Kasamon Y, Lodge MA. From RECIST to PERCIST. J Nucl Med 2009, doi
10.2967/jnumed.108.057307 (called Wahl 2009 below), and O JH, Lodge MA, Wahl RL. Practical PERCIST.
Radiology 2016, doi 10.1148/radiol.2016142043. What cannot be told from numbers (whether uptake is
tumour, whether it stands out from its surroundings) is left to a reader and said so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lesionlab.core.response import Category, Change, Check, Percist
from lesionlab.measure.references import References
from lesionlab.measure.thresholds import PERCIST_BLOOD, PERCIST_LIVER, percist_level

WAHL: Final = "Wahl 2009, doi 10.2967/jnumed.108.057307"
PRACTICAL: Final = "O 2016, doi 10.1148/radiol.2016142043"
PERCENT: Final = 30.0
UNITS: Final = 0.8
"""A change of SULpeak counts from 30 % and 0.8 SUL units (both)."""
GLYCOLYSIS_PERCENT: Final = 75.0
LIVER_PERCENT: Final = 20.0
LIVER_UNITS: Final = 0.3
NOT_CHECKED: Final = (
    "not checked here, though PERCIST asks for it: the same scanner, reconstruction, dose and uptake time at "
    "both timepoints, and that uptake is tumour"
)


@dataclass(frozen=True, slots=True)
class Uptake:
    """One timepoint: SULpeak of the hottest lesion or, where none is `drawn`, of where lesions were."""

    sulpeak: float
    drawn: bool
    references: References
    sul_factor: float

    @property
    def liver(self) -> float:
        """Liver SUL mean; NaN where it is not known."""
        region = self.references.liver
        return math.nan if region is None else region.mean * self.sul_factor


def percist(before: Uptake, after: Uptake, changes: Iterable[Change], glycolysis_percent: float) -> Percist:
    """The PERCIST 1.0 category of two timepoints; `glycolysis_percent` is the change of total TLG.

    Without SUL at either timepoint there is no category, with the reason; nothing is guessed. Without liver
    and blood pool measurability and comparability stay open, and a note says so.
    """
    if math.isnan(before.sul_factor) or math.isnan(after.sul_factor):
        reason = "SUL is not known at both timepoints (it needs PatientWeight, PatientSize and PatientSex)"
        return Percist("", reason, (), False)
    every = tuple(changes)
    measurable, comparable = _measurable(before), _comparable(before, after)
    new = sum(1 for change in every if change.match.kind == "new")
    drop, rise = _drop(before, after), _rise(before, after)
    complete, spread = _complete(before, after, new), _spread(before, after, glycolysis_percent)
    others = _others(every)
    fresh = Check("New lesions", "none", str(new), new == 0, WAHL)
    checks = (measurable, comparable, complete, drop, rise, spread, fresh, others)
    category, reason = _decide(before, measurable, (fresh, rise, spread), (complete, drop, others))
    notes = [NOT_CHECKED] if category else []
    if measurable.holds is None and category:
        notes.append(
            "warning: no liver or blood pool reference, so whether the lesion was measurable is open"
        )
    if comparable.holds is None and category:
        notes.append("warning: no liver reference at both timepoints, so whether they are comparable is open")
    if comparable.holds is False:
        notes.append(f"warning: by PERCIST the two scans cannot be compared: liver {comparable.found}")
    if category in ("PMR", "SMD") and others.holds is False:
        notes.append(
            f"warning: {others.found}; whether that is unequivocal progression (PMD) a reader decides"
        )
    return Percist(category, reason, checks, comparable.holds is not False, tuple(notes))


def _decide(
    before: Uptake,
    measurable: Check,
    progress: tuple[Check, Check, Check],
    response: tuple[Check, Check, Check],
) -> tuple[Category, str]:
    """Progression before response, as new lesions outweigh everything."""
    fresh, rise, spread = progress
    complete, drop, others = response
    if fresh.holds is False:
        return "PMD", f"new lesions: {fresh.found}"
    if math.isnan(before.sulpeak):
        return "", "no lesion with a known SULpeak at baseline"
    if measurable.holds is False:
        return "", f"not measurable at baseline: SULpeak {measurable.found}, needed {measurable.needed}"
    if complete.holds:
        return "CMR", complete.found
    if rise.holds:
        return "PMD", f"SULpeak of the hottest lesion {rise.found}"
    if spread.holds:
        return "PMD", f"total TLG {spread.found} without a decline of SULpeak"
    if drop.holds is None:
        return "", "SULpeak at follow-up is not known"
    if drop.holds and others.holds is not False:
        return "PMR", f"SULpeak of the hottest lesion {drop.found}"
    if drop.holds:
        return "SMD", f"SULpeak of the hottest lesion {drop.found}, but {others.found}"
    return "SMD", f"SULpeak of the hottest lesion {drop.found}: neither response nor progression"


def _measurable(before: Uptake) -> Check:
    level = percist_level(before.references) * before.sul_factor
    name = "Measurable at baseline"
    if math.isnan(level) or math.isnan(before.sulpeak):
        return Check(name, "1.5 x liver SUL mean + 2 SD", "not known", None, WAHL)
    liver = before.references.liver is not None
    factor, deviations = PERCIST_LIVER if liver else PERCIST_BLOOD
    where = "liver" if liver else "blood pool"
    needed = f"SULpeak of at least {level:.2f} ({factor:g} x {where} SUL mean + {deviations:g} SD)"
    return Check(name, needed, f"{before.sulpeak:.2f}", before.sulpeak >= level, WAHL)


def _comparable(before: Uptake, after: Uptake) -> Check:
    needed = f"liver SUL mean within {LIVER_PERCENT:g} % and less than {LIVER_UNITS:g} SUL apart"
    first, second = before.liver, after.liver
    if math.isnan(first) or math.isnan(second) or first <= 0:
        return Check("Scans comparable", needed, "not known", None, WAHL)
    apart, share = abs(second - first), 100 * abs(second - first) / first
    found = f"{first:.2f} and {second:.2f}: {share:.0f} % and {apart:.2f} SUL apart"
    # a hair of tolerance: 2.0 and 2.3 are 0.3 apart, whatever the last binary digit says
    holds = share <= LIVER_PERCENT + 1e-9 and apart < LIVER_UNITS - 1e-9
    return Check("Scans comparable", needed, found, holds, WAHL)


def _complete(before: Uptake, after: Uptake, new: int) -> Check:
    """Uptake gone: below the liver's mean, and at the level of the blood pool or with no lesion drawn.

    Without a liver, no lesion drawn counts where uptake fell as a response asks for.
    """
    needed = "SULpeak below the liver SUL mean and not above blood pool (mean + 2 SD), or no lesion left"
    name = "Uptake resolved"
    if new or (after.drawn and math.isnan(after.liver)):
        return Check(name, needed, "lesions at follow-up", False, WAHL)
    if math.isnan(after.sulpeak):
        # no lesion is drawn where the follow-up did not look either
        return Check(name, needed, "not known", None, WAHL)
    if math.isnan(after.liver):
        drop = _drop(before, after)
        if drop.holds is False:
            found = f"no lesion drawn, but SULpeak there {drop.found} (liver not known)"
            return Check(name, needed, found, False, WAHL)
        return Check(name, needed, "no lesion left (liver not known)", True, WAHL)
    found = f"SULpeak {after.sulpeak:.2f}, liver {after.liver:.2f}"
    blood = after.references.blood
    if after.sulpeak >= after.liver:
        return Check(name, needed, found, False, WAHL)
    if blood is None:
        words = "a lesion is still drawn, blood pool not known" if after.drawn else "no lesion left"
        return Check(name, needed, f"{found}; {words}", not after.drawn, WAHL)
    level = (blood.mean + 2 * blood.sd) * after.sul_factor
    return Check(name, needed, f"{found}, blood pool {level:.2f}", after.sulpeak <= level, WAHL)


def _apart(before: Uptake, after: Uptake) -> tuple[float, float, str]:
    """Difference, percent and words of the change of SULpeak."""
    apart = after.sulpeak - before.sulpeak
    share = 100 * apart / before.sulpeak if before.sulpeak > 0 else math.nan
    return apart, share, f"{before.sulpeak:.2f} to {after.sulpeak:.2f} ({share:+.1f} %, {apart:+.2f} SUL)"


def _drop(before: Uptake, after: Uptake) -> Check:
    needed = f"SULpeak of the hottest lesion down by at least {PERCENT:g} % and {UNITS:g} SUL"
    apart, share, words = _apart(before, after)
    if math.isnan(share):
        return Check("Response", needed, "not known", None, WAHL)
    # a hair of tolerance: 2.0 to 1.4 is a drop of 30 %, whatever the last binary digit says
    return Check("Response", needed, words, share <= -PERCENT + 1e-9 and apart <= -UNITS + 1e-9, WAHL)


def _rise(before: Uptake, after: Uptake) -> Check:
    needed = f"SULpeak of the hottest lesion up by more than {PERCENT:g} % and {UNITS:g} SUL"
    apart, share, words = _apart(before, after)
    if math.isnan(share):
        return Check("Progression", needed, "not known", None, WAHL)
    return Check("Progression", needed, words, share > PERCENT + 1e-9 and apart > UNITS + 1e-9, WAHL)


def _spread(before: Uptake, after: Uptake, glycolysis_percent: float) -> Check:
    needed = f"total TLG up by at least {GLYCOLYSIS_PERCENT:g} % without a decline of SULpeak"
    name = "Progression in extent"
    _, share, _ = _apart(before, after)
    if math.isnan(glycolysis_percent) or math.isnan(share):
        return Check(name, needed, "not known", None, WAHL)
    holds = glycolysis_percent >= GLYCOLYSIS_PERCENT - 1e-9 and share >= 0
    return Check(name, needed, f"{glycolysis_percent:+.0f} %", holds, WAHL)


def _others(changes: Iterable[Change]) -> Check:
    """No lesion whose uptake or size rises by more than 30 %; holds None without any lesion to look at."""
    needed = f"no lesion's SULpeak or diameter up by more than {PERCENT:g} %"
    grown, seen = [], False
    for change in changes:
        if not (change.match.baseline and change.match.followup):
            continue
        seen = True
        for name in ("SULpeak", "diameter_3d"):
            if change.percent[name] > PERCENT + 1e-9:
                lesions = " + ".join(map(str, change.match.baseline))
                words = "diameter" if name == "diameter_3d" else name
                grown.append(f"lesion {lesions}: {words} {change.percent[name]:+.0f} %")
    if grown:
        return Check("Every lesion", needed, "; ".join(grown), False, f"{WAHL}; {PRACTICAL}")
    return Check("Every lesion", needed, "none" if seen else "no pair of lesions", True, WAHL)
