"""The IBSI reporting checklist, filled in as far as a run knows: for one patient, and merged over many.

An author copies it into a paper's supplement and adds what stays open. The items are in `ibsi_items`, the
answers in `ibsi_scan` (headers) and `ibsi_run` (recipe, methods).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.results import Findings
from lesionlab.report import tables
from lesionlab.report.html import Html, document, join, table, tag
from lesionlab.report.ibsi_items import (
    DYNAMIC,
    ITEMS,
    SOURCE,
    Item,
    Said,
    State,
    not_applicable,
    unknown,
)
from lesionlab.report.ibsi_run import run_answers, section
from lesionlab.report.ibsi_scan import channels_of, scan_answers

HEAD: Final = ("number", "section", "topic", "modality", "state", "answer")
KINDS: Final = {"DWI-MRI": "MRI", "MRI (brain)": "MRI"}
"""The manual's narrower modalities, and those that a header tells."""
MOST_LISTED: Final = 4
"""Answers that differ between patients are listed up to this many."""
RANGED: Final = frozenset(
    (
        "3c",
        "3d",
        "4c",
        "13",
        "14",
        "15",
        "19",
        "20",
        "21",
        "22",
        "23",
        "26",
        "28",
        "29",
        "30",
        "31c",
        "38",
        "51",
    )
)
"""Quantities: over many patients their lowest and highest values say enough."""
NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """One item with its answer; for an open one, the text says what the author has to add."""

    number: str
    section: str
    topic: str
    modality: str
    answer: str
    state: State


def wanted(findings: Findings) -> bool:
    """Whether the run computed features of the standard, so that its checklist is worth writing."""
    return bool(section(findings, "radiomics", RadiomicsSettings).families)


def checklist(findings: Findings) -> tuple[Answer, ...]:
    """Every item of the checklist, in its order, as far as the findings' facts and settings answer it.

    An item of a modality that none of the images has is not applicable; where an image's modality is not
    known, it stays open. What the run cannot know stays open with words on what to add.
    """
    present = {channel.modality for channel in channels_of(findings.case)}
    known = scan_answers(findings.case) | run_answers(findings)
    return tuple(_answer(item, known, present) for item in ITEMS)


def _answer(item: Item, known: dict[str, Said], present: set[str]) -> Answer:
    said = known.get(item.number)
    if item.modality and item.modality != DYNAMIC:
        named = {KINDS.get(name, name) for name in item.modality.split(", ")}
        if not named & present:
            said = (
                unknown(f"if the image is {item.modality}: {item.add}")
                if "" in present
                else not_applicable(f"no {item.modality}")
            )
    if said is None:
        said = unknown(f"to add: {item.add}")
    return Answer(item.number, item.section, item.topic, item.modality, said.text, said.state)


def merged(checklists: Sequence[Sequence[Answer]]) -> tuple[Answer, ...]:
    """One checklist over many patients' checklists: answers that differ are told apart.

    Quantities give their range; any other item lists each answer with the number of cases that have it, the
    most frequent first. An item is open where any case leaves it open. No patient gives no items.
    """
    return tuple(_merge(answers) for answers in zip(*checklists, strict=True))


def _merge(answers: Sequence[Answer]) -> Answer:
    first, count = answers[0], len(answers)
    groups: dict[str, list[str]] = {}
    for answer in answers:
        alike = NUMBER.sub("#", answer.answer) if first.number in RANGED else answer.answer
        groups.setdefault(alike, []).append(answer.answer)
    states = {answer.state for answer in answers}
    state: State = "open" if "open" in states else "filled" if "filled" in states else "not applicable"
    kinds = sorted(groups.values(), key=len, reverse=True)
    if len(kinds) == 1:
        text = _ranges(kinds[0])
        same = text == first.answer
        return replace(first, answer=text if same else f"{text}, over {count} cases", state=state)
    parts = [f"{_ranges(texts)} ({len(texts)} of {count} cases)" for texts in kinds[:MOST_LISTED]]
    rest = len(kinds) - len(parts)
    parts += [f"{rest} more"] if rest else []
    return replace(first, answer="differs between cases: " + "; or ".join(parts), state=state)


def _ranges(texts: Sequence[str]) -> str:
    """Texts that differ in their numbers alone as one, each number that differs from lowest to highest."""
    if len(set(texts)) == 1:
        return texts[0]
    columns = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    ends = iter([(min(column, key=float), max(column, key=float)) for column in columns])

    def span(_: re.Match[str]) -> str:
        low, high = next(ends)
        return low if low == high else f"{low} to {high}"

    return NUMBER.sub(span, texts[0])


def write_checklist(answers: Sequence[Answer], folder: Path, title: str) -> None:
    """Write ibsi_checklist.csv and ibsi_checklist.html into an existing folder."""
    write_table(answers, folder / "ibsi_checklist.csv")
    (folder / "ibsi_checklist.html").write_text(checklist_page(answers, title), encoding="utf-8")


def write_table(answers: Sequence[Answer], path: Path) -> None:
    """Write the checklist alone as CSV, a row per item."""
    rows = [[a.number, a.section, a.topic, a.modality, a.state, a.answer] for a in answers]
    tables.write_csv(path, HEAD, rows)


def checklist_page(answers: Sequence[Answer], title: str) -> Html:
    """The checklist as a page: the numbers of filled and open items, then a table per section."""
    counts = {state: sum(a.state == state for a in answers) for state in ("filled", "open", "not applicable")}
    cards = [
        tag("li", tag("b", count), tag("span", state), class_="main" if state == "filled" else None)
        for state, count in counts.items()
    ]
    sections = dict.fromkeys(answer.section for answer in answers)
    return document(
        f"{title}: IBSI reporting checklist",
        tag(
            "header",
            tag("h1", f"{title}: IBSI reporting checklist"),
            tag("p", f"Items of the {SOURCE}, answered from headers, recipe and software.", class_="sub"),
            tag("ul", join(cards), class_="answer"),
            tag("p", "Open items are the author's to add; check the others before they are published."),
        ),
        *(_section(name, [a for a in answers if a.section == name]) for name in sections),
        tag("footer", "LesionLab. The same, for programs: ibsi_checklist.csv."),
    )


def _section(name: str, answers: Sequence[Answer]) -> Html:
    """A section's items in a table, and those that do not apply by reason in a line beneath."""
    rows = [
        [
            answer.number,
            join([answer.topic, tag("span", answer.modality, class_="unit") if answer.modality else ""]),
            tag("b", "open") if answer.state == "open" else answer.state,
            answer.answer,
        ]
        for answer in answers
        if answer.state != "not applicable"
    ]
    left: dict[str, list[str]] = {}
    for answer in answers:
        if answer.state == "not applicable":
            left.setdefault(answer.answer, []).append(answer.number)
    reasons = "; ".join(f"{', '.join(numbers)} ({reason})" for reason, numbers in left.items())
    return tag(
        "section",
        tag("h2", name),
        table(["Item", "Topic", "State", "Answer"], rows, class_="checklist") if rows else "",
        tag("p", f"Not applicable: {reasons}.", class_="quiet") if reasons else "",
    )
