"""PERCIST 1.0 at and around each of its thresholds."""

from __future__ import annotations

import math

import pytest

from lesionlab.core.response import Change, Match
from lesionlab.measure.percist import Uptake, percist
from lesionlab.measure.references import Reference, References

FACTOR = 0.8


def region(mean_sul, sd_sul=0.1):
    """A reference whose SUL mean and SD are the given ones."""
    return Reference(mean_sul / FACTOR, sd_sul / FACTOR, 1000, "here")


def uptake(sulpeak, *, liver=1.6, blood=None, drawn=True, factor=FACTOR):
    references = References(
        None if liver is None else region(liver), None if blood is None else region(blood)
    )
    return Uptake(sulpeak, drawn, references, factor)


def change(kind="matched", *, peak=0.0, diameter=0.0):
    sides = {"new": ((), (1,)), "vanished": ((1,), ())}.get(kind, ((1,), (1,)))
    percent = {"SULpeak": peak, "diameter_3d": diameter}
    return Change(Match(kind, *sides, 0.0, 0.0), {}, {}, percent)


def category(before, after, *changes, glycolysis=0.0):
    found = percist(before, after, changes or (change(),), glycolysis)
    return found.category


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (10.0, 7.0, "PMR"),  # exactly 30 %
        (10.0, 7.01, "SMD"),
        (2.6, 1.81, "SMD"),  # 30.4 %, but only 0.79 units
        (2.6, 1.8, "PMR"),  # 0.8 units
        (10.0, 13.0, "SMD"),  # 30 % is not more than 30 %
        (10.0, 13.01, "PMD"),
        (2.6, 3.4, "SMD"),  # 30.8 %, but 0.8 units are not more than 0.8
        (2.6, 3.41, "PMD"),
        (10.0, 10.0, "SMD"),
    ],
)
def test_30_percent_and_0_8_units(before, after, expected):
    # a pale liver keeps "uptake resolved" out of it
    assert category(uptake(before, liver=1.0), uptake(after, liver=1.0)) == expected


def test_new_lesions_outweigh_a_response():
    found = percist(uptake(10.0), uptake(2.0), (change(), change("new")), -80.0)
    assert (found.category, found.reason) == ("PMD", "new lesions: 1")
    assert percist(uptake(math.nan, drawn=False), uptake(5.0), (change("new"),), math.nan).category == "PMD"


@pytest.mark.parametrize(
    ("glycolysis", "after", "expected"),
    [(75.0, 10.0, "PMD"), (74.9, 10.0, "SMD"), (200.0, 9.9, "SMD"), (math.nan, 10.0, "SMD")],
)
def test_75_percent_of_glycolysis_without_a_decline(glycolysis, after, expected):
    assert category(uptake(10.0), uptake(after), glycolysis=glycolysis) == expected


def test_uptake_that_is_gone():
    vanished = change("vanished")
    assert category(uptake(5.0), uptake(1.5, drawn=False), vanished) == "CMR"
    # hotter than the liver where the lesion was: no complete response, whatever the mask says
    assert category(uptake(5.0), uptake(1.7, drawn=False), vanished) == "PMR"
    # still drawn, below liver: only a blood pool can tell
    assert category(uptake(5.0), uptake(1.5)) == "PMR"
    assert category(uptake(5.0), uptake(1.5, blood=1.4)) == "CMR"
    assert category(uptake(5.0), uptake(1.5, blood=1.2)) == "PMR"
    found = percist(uptake(5.0, liver=None), uptake(1.5, liver=None, drawn=False), (vanished,), -100.0)
    assert found.category == "CMR"
    assert any("whether the lesion was measurable is open" in note for note in found.notes)


def test_a_lesion_must_be_measurable_at_baseline():
    # 1.5 x 1.6 + 2 x 0.1 = 2.6; by the blood pool 2 x 1.2 + 2 x 0.1 = 2.6
    assert category(uptake(2.6), uptake(2.6)) == "SMD"
    found = percist(uptake(2.59), uptake(1.0), (change(),), 0.0)
    assert found.category == ""
    assert "not measurable at baseline: SULpeak 2.59" in found.reason
    by_blood = uptake(2.59, liver=None, blood=1.2)
    assert category(by_blood, uptake(1.0)) == ""
    assert "2 x blood pool SUL mean + 2 SD" in percist(by_blood, uptake(1.0), (change(),), 0.0).reason


@pytest.mark.parametrize(
    ("liver", "comparable"),
    [(1.6, True), (1.89, True), (1.91, False), (1.31, True), (1.29, False)],
)
def test_livers_must_agree(liver, comparable):
    found = percist(uptake(10.0), uptake(9.0, liver=liver), (change(),), 0.0)
    assert found.assessable == comparable
    assert found.category == "SMD"
    assert any("cannot be compared" in note for note in found.notes) != comparable


@pytest.mark.parametrize(
    ("before", "after", "comparable"),
    [(2.0, 2.3, False), (1.5, 1.8, False), (1.1, 1.32, True), (1.0, 1.2, True), (1.4, 1.12, True)],
)
def test_livers_at_the_limits_are_told_apart_whatever_the_last_digit(before, after, comparable):
    found = percist(uptake(10.0, liver=before), uptake(9.0, liver=after), (change(),), 0.0)
    assert found.assessable == comparable


def test_20_percent_counts_where_it_is_less_than_0_3_units():
    pale = percist(uptake(10.0, liver=1.0), uptake(9.0, liver=1.21), (change(),), 0.0)
    assert not pale.assessable


def test_a_response_needs_every_lesion_to_hold():
    for grown in (change(peak=31.0), change(diameter=31.0)):
        found = percist(uptake(10.0), uptake(5.0), (change(peak=-50.0), grown), -30.0)
        assert found.category == "SMD"
        assert any("a reader decides" in note for note in found.notes)
    assert category(uptake(10.0), uptake(5.0), change(peak=30.0, diameter=30.0)) == "PMR"


def test_without_sul_nothing_is_guessed():
    found = percist(uptake(10.0), uptake(5.0, factor=math.nan), (change(),), 0.0)
    assert (found.category, found.checks, found.assessable) == ("", (), False)
    assert "PatientSize" in found.reason
    assert category(uptake(math.nan), uptake(5.0)) == ""
    assert category(uptake(10.0), uptake(math.nan)) == ""


def test_every_check_names_its_source():
    found = percist(uptake(10.0), uptake(5.0), (change(),), 0.0)
    assert len(found.checks) == 8
    assert all("10.2967/jnumed.108.057307" in check.source for check in found.checks)
    assert any("PERCIST asks for it" in note for note in found.notes)


def test_a_place_that_the_follow_up_does_not_show_is_no_complete_response():
    unseen = uptake(math.nan, liver=None, drawn=False)
    found = percist(uptake(5.0, liver=None), unseen, (change("vanished"),), -100.0)
    assert (found.category, found.reason) == ("", "SULpeak at follow-up is not known")


def test_without_a_liver_uptake_that_stayed_is_no_complete_response():
    kept = uptake(4.9, liver=None, drawn=False)
    found = percist(uptake(5.0, liver=None), kept, (change("vanished"),), -100.0)
    assert found.category == "SMD"
    assert "no lesion drawn, but SULpeak there 5.00 to 4.90" in found.checks[2].found
