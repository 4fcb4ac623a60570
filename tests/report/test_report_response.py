"""The page of two timepoints: what it says, escaped, with and without lesions."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import phantoms
from lesionlab import find_recipe
from lesionlab.core.response import Change, Check, Comparison, Match, Percist, Response
from lesionlab.core.rigid import Rigid
from lesionlab.pipeline import findings_of_mask
from lesionlab.report.canvas import png
from lesionlab.report.response import comparison_page, percent_words, response_record
from lesionlab.report.response_figures import changes_figure, colour_of, peak_name

UNITS = {
    "SUVmax": "g/ml{SUVbw}",
    "SUVpeak": "g/ml{SUVbw}",
    "SULpeak": "g/ml{SUVlbm(James128)}",
    "MTV": "ml",
    "TLG": "g",
    "diameter_3d": "mm",
}


def change(kind, baseline, followup, before, after):
    one = dict.fromkeys(UNITS, before)
    two = dict.fromkeys(UNITS, after)
    percent = 100 * (after - before) / before
    return Change(Match(kind, baseline, followup, 1.0, 2.0), one, two, dict.fromkeys(UNITS, percent))


CHANGES = (
    change("matched", (1,), (2,), 8.0, 4.0),
    change("split", (2,), (1, 3), 4.0, 4.4),
    change("vanished", (3,), (), 3.0, 0.6),
    change("new", (), (4,), math.nan, 5.0),
)
CHECK = Check("New lesions", "none", "1", False, "Wahl 2009")


def response(changes, category="PMD"):
    verdict = Percist(category, "new lesions: 1", (CHECK,) if category else (), True, ("a <note>",))
    totals = change("regrouped", (1, 2, 3), (1, 2, 3, 4), 8.0, 5.0)
    return Response(tuple(changes), totals, verdict, UNITS, (), "by overlap", ())


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    folder = phantoms.write_pet_patient(
        tmp_path_factory.mktemp("scan") / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)]
    )
    return findings_of_mask(folder, folder / "truth.nii.gz", find_recipe("pet-threshold"))


def comparison(findings, *changes, category="PMD"):
    return Comparison(
        findings,
        findings,
        response(changes, category),
        Rigid(),
        (0.5, 0.9),
        {"alignment": "rigid", "SUL": "James"},
        ("warning: <odd>",),
    )


def test_the_page_is_well_formed_and_says_everything(findings):
    page = comparison_page(comparison(findings, *CHANGES))
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))  # noqa: S314 - our own page
    for words in (
        "PERCIST 1.0: progressive metabolic disease",
        "1 → 2",
        "2 → 1 + 3",
        "vanished",
        "Wahl 2009",
        "−50 %",
        "warning: &lt;odd&gt;",
        "not a medical device",
        "James",
    ):
        assert words in page, words
    assert "<odd>" not in page
    assert page.count("data:image/png;base64") == 3


def test_no_lesion_and_no_category_give_a_page_too(findings):
    page = comparison_page(comparison(findings, category=""))
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))  # noqa: S314 - our own page
    assert "there is nothing to compare" in page
    assert "No category: new lesions: 1." in page


def test_the_record_is_json_with_units_and_rules(findings):
    record = response_record(comparison(findings, *CHANGES))
    assert record["category"] == "PMD"
    assert [c["kind"] for c in record["changes"]] == ["matched", "split", "vanished", "new"]
    assert record["changes"][1]["followup_lesions"] == "1+3"
    assert record["likeness"] == {"before": 0.5, "after": 0.9}
    assert record["notes"][0] == "warning: <odd>"


def test_colours_tell_up_down_and_new():
    colours = [colour_of(c, "SULpeak") for c in CHANGES]
    assert len(set(colours)) == 3
    assert colours[0] == colours[2] != colours[3]
    rise = change("matched", (1,), (1,), 2.0, 4.0)
    assert colour_of(rise, "SULpeak") not in colours


@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_the_figure_takes_any_number_of_lesions(count):
    random = np.random.default_rng(count)
    changes = [
        change("matched", (k + 1,), (k + 1,), *random.uniform(1, 20, 2).tolist()) for k in range(count)
    ]
    picture = png(changes_figure(response(changes)))
    assert picture.startswith(b"\x89PNG")
    assert picture == png(changes_figure(response(changes)))


def test_the_peak_shown_is_the_one_that_is_known():
    found = response(CHANGES)
    assert peak_name(found) == "SULpeak"
    assert peak_name(response(())) == "SULpeak"
    for side in (found.totals.baseline, found.totals.followup):
        side["SULpeak"] = math.nan
    assert peak_name(found) == "SUVpeak"


@pytest.mark.parametrize("side", ["baseline", "followup"])
def test_sul_at_one_timepoint_alone_shows_the_change_of_suv(side):
    lone = (change("matched", (1,), (1,), 8.0, 4.0), change("vanished", (2,), (), 3.0, 0.6))
    found = response(lone)
    for one in (*found.changes, found.totals):
        getattr(one, side)["SULpeak"] = math.nan
    assert peak_name(found) == "SUVpeak"
    # No lesion is left at follow-up: SUL is known all the same.
    gone = response((change("vanished", (2,), (), 3.0, 0.6),))
    for name in UNITS:
        gone.totals.followup[name] = math.nan
    assert peak_name(gone) == "SULpeak"


def test_percentages_for_reading():
    assert [percent_words(v) for v in (12.34, -0.4, math.nan)] == ["+12 %", "−0 %", "–"]
