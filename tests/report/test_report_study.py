"""The page of a study whose numbers are not defined: one variant, or no case with a lesion."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlab.report.html import MISSING
from lesionlab.report.study import main_table, study_markdown, study_page, write_study
from lesionlab.report.study_figures import NAME_PT, PANEL_PT, names_below

NAN = math.nan


def row(variant: str, **known: Any) -> dict[str, Any]:
    """A variant of which nothing is defined but what is known."""
    metrics = ("dice", "iou", "lesion_sensitivity", "fp_volume_ml")
    undefined = {f"{name}{end}": NAN for name in metrics for end in ("", "_low", "_high")}
    ranks = dict.fromkeys(("p_wilcoxon", "p_holm", "rank", "rank_low", "rank_high", "first_share"), NAN)
    costs = {"parameters": 0, "minutes": 0.0, "patches": 0.0, "seconds_per_case": NAN, "seed_sd": NAN}
    empties = {"lesion_free": 2, "left_empty": 1, "left_empty_share": 0.5, "not_predicted": 0}
    return {"variant": variant, **undefined, **ranks, **costs, **empties, "post_processing": "none", **known}


def parts(*rows: dict[str, Any]) -> dict[str, Any]:
    pairs = np.full((len(rows), len(rows)), NAN)
    known: dict[str, Any] = {"rows": rows, "pairs": pairs, "tau": NAN, "facts": {"tested": "2 cases"}}
    return {**known, "classes": (), "groups": (), "failed": {}, "waiting": ()}


@pytest.mark.parametrize("names", [["only"], ["first", "second"]])
def test_what_is_not_defined_is_a_dash(tmp_path: Path, names: list[str]) -> None:
    table = parts(*map(row, names))
    words = re.sub(r"data:image[^\"]*", "", study_page("s", table)) + study_markdown("s", table)
    assert not re.search(r"\bnan\b|nan%", words)
    assert write_study(tmp_path, "s", table).is_file()


def test_only_the_first_is_called_the_best() -> None:
    _, body = main_table([row("first"), row("second"), row("third", p_holm=0.5)])
    assert [line[5] for line in body] == ["best", MISSING, "0.500"]
    _, body = main_table([row("first", left_empty_share=NAN, lesion_free=0, dice=0.5, rank=1.0)])
    assert body[0][1] == "0.500"


def test_names_of_points_that_lie_together_stay_apart() -> None:
    heights = [0.739, 0.737, 0.719, 0.429]
    below = names_below(heights[:3], heights)
    scale = PANEL_PT / 0.31
    written = [height * scale - down for height, down in zip(heights, below, strict=False)]
    assert below[0] == 0.0 and below[1] > 0.0
    assert all(above - under >= NAME_PT - 1e-9 for above, under in itertools.pairwise(written))
    assert names_below([0.9, 0.5], [0.9, 0.5]) == [0.0, 0.0]
    assert names_below([0.7, 0.7], [0.7, 0.7]) == [0.0, NAME_PT]
    assert names_below([], []) == []
