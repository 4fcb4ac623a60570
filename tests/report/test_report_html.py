from __future__ import annotations

import pytest

from lesionlab.core import units
from lesionlab.report.html import Html, escaped, number, quantity, tag, unit_words


def test_children_and_attributes_are_escaped_once() -> None:
    inner = tag("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert tag("p", inner, title='"x"') == '<p title="&quot;x&quot;"><b>&lt;&amp;&gt;</b></p>'


def test_attributes_that_are_none_are_left_out() -> None:
    assert tag("p", class_=None, http_equiv="a") == '<p http-equiv="a"></p>'
    assert tag("img", src="x") == '<img src="x"/>'


def test_characters_that_no_page_may_hold_are_replaced() -> None:
    assert escaped("a\x00b\ud800\ufffe") == "a\ufffdb\ufffd\ufffd"
    assert escaped(Html("<b>")) == "<b>"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (float("nan"), units.SUVBW, "–"),
        (float("inf"), units.ONE, "∞"),
        (float("-inf"), units.ONE, "−∞"),
        (12.345, units.SUVBW, "12.35"),
        (0.064, units.MILLILITRE, "0.06"),
        (-3.04, units.MILLIMETRE, "−3.0"),
        (17.0, units.ONE, "17"),
        (0.5, units.ONE, "0.500"),
        (0.00012345, units.ONE, "0.0001234"),
        (-7.6, units.HOUNSFIELD, "−8"),
    ],
)
def test_numbers_for_reading(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_quantities_name_their_unit_in_words() -> None:
    assert quantity(2.5, units.SUVBW) == "2.50 g/ml (SUVbw)"
    assert quantity(float("nan"), units.SUVBW) == "–"
    assert quantity(3.0, units.ONE) == "3"
    assert unit_words("mm2") == "mm2"


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert [number(value, units.MILLILITRE) for value in (-0.001, -0.0, -0.01)] == ["0.00", "0.00", "−0.01"]
    assert number(-0.0) == "0"
