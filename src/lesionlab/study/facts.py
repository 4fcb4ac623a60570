"""What a reader must know beside the numbers of a study's table: cases, folds, protocol, what was left out.

Words only; the numbers are `table.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from lesionlab.core.case import spacing_words
from lesionlab.study.bench import Bench, Finished
from lesionlab.study.load import Study


def facts_of(
    study: Study, folds: Sequence[int], tested: tuple[Sequence[str], Sequence[str]], runs: Sequence[Finished]
) -> dict[str, str]:
    """What the reader must know beside the numbers; `tested` are the cases and their patients."""
    settings, (cases, whose) = study.settings, tested
    by = "patient" if settings.folds_by is None else settings.folds_by.column
    choice = "as each recipe says"
    if settings.post_processing.choose:
        inside = "an inner part of the training patients"
        learnt = inside if study.learns_inside else "patients of the other folds"
        choice = f"chosen on {learnt}, never on the test fold"
        alone = sum(not one.scores["learnt_on"] for one in runs)
        if alone:
            choice += f"; {alone} of {len(runs)} runs still as the recipe says, as no other fold is finished"
    return {
        "tested": f"{len(cases)} cases of {len(set(whose))} patients",
        "test folds": f"{', '.join(map(str, folds))} of {settings.folds} folds by {by}",
        "seeds": ", ".join(map(str, settings.seeds)),
        "protocol": _protocol(study),
        **_ensembles(study),
        "post-processing": choice,
    }


def _protocol(study: Study) -> str:
    """What every variant gets, and which get another amount."""
    settings = study.settings
    unit = "patches" if settings.protocol == "patches" else "minutes of training"
    others = [f"{v.name} {v.amount:g}" for v in study.trained if v.amount != settings.amount]
    words = f"the same for every variant: {settings.amount:g} {unit} in each fold"
    return words + (f", but {', '.join(others)}" if others else "")


def _ensembles(study: Study) -> dict[str, str]:
    """Which ensemble is the mean of what."""
    seeds = len(study.settings.seeds)
    each = f", {seeds} seeds each" if seeds > 1 else ""
    means = [f"{v.name!r} of {', '.join(map(repr, v.members))}{each}" for v in study.variants if v.members]
    if not means:
        return {}
    return {"ensembles": f"mean probability of networks, whose costs are added: {'; '.join(means)}"}


def lengths(unknown: Set[str], cases: Sequence[str]) -> dict[str, str]:
    """What mm and ml mean where the pixel spacing of some of the cases is unknown."""
    words = spacing_words(len(unknown & set(cases)), len(cases))
    return {"lengths": words} if words else {}


def left_out(bench: Bench, used: Mapping[str, Sequence[Finished]], some: Set[str]) -> dict[str, str]:
    """Which cases are not in the comparison: read for `some` of the variants only, or for none."""
    unread: dict[str, str] = {}
    for runs in used.values():
        for name, reason in bench.data(runs[0].run.recipe).failed.items():
            unread.setdefault(name, reason)
    found = {}
    if some:
        words = f"{len(some)} that not every variant could read, so none is scored on them"
        found["left out"] = f"{words}: {_listed(sorted(some))}"
    if unread:
        first = next(iter(unread.values()))
        found["not read"] = f"{len(unread)} cases: {_listed(sorted(unread))}; the first reason: {first}"
    return found


def _listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
