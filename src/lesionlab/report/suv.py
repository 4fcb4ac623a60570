"""The report's section on how SUV was computed: rule, attributes, factor, what was not taken, warnings.

The audit is made in `standardise/`; here it is only shown.
"""

from __future__ import annotations

from lesionlab.core.case import Case
from lesionlab.core.suv import SUV_KINDS, SuvAudit
from lesionlab.report.html import Html, join, listing, number, table, tag


def suv_section(case: Case) -> Html:
    """How SUVbw came about, a table with what else was possible; nothing for scans that held SUV already."""
    audit = next((facts.suv for facts in case.facts.channels.values() if facts.suv is not None), None)
    if audit is None:
        return Html("")
    facts = [
        ["Rule", audit.rule],
        ["Attributes that decided", ", ".join(audit.tags)],
        ["SUVbw per stored unit", f"{audit.span} ({len(audit.factors)} slices)"],
        ["Other kinds", _kinds(audit)],
    ]
    parts = [tag("h2", "How SUV was computed"), table(["What", "Value"], facts, class_="facts")]
    if audit.candidates:
        parts.append(_references(audit))
    if audit.warnings:
        parts += [tag("h3", "Warnings"), listing(audit.warnings)]
    return tag("section", join(parts))


def _kinds(audit: SuvAudit) -> str:
    others = [
        f"{kind} = {number(multiple)} x SUVbw ({SUV_KINDS[kind].meaning})"
        for kind, multiple in audit.multiples.items()
        if kind != "SUVbw"
    ]
    return "; ".join((*others, *audit.flags))


def _references(audit: SuvAudit) -> Html:
    first = audit.candidates[0].factor
    rows = [
        [
            candidate.rule,
            f"{candidate.reference:%Y-%m-%d %H:%M:%S}",
            f"{candidate.factor:.6g}",
            "taken"
            if position == 0
            else f"not taken, {100 * (candidate.factor / first - 1):+.2f} % in SUVbw",
        ]
        for position, candidate in enumerate(audit.candidates)
    ]
    return table(["Decay reference", "Moment", "Factor", ""], rows)
