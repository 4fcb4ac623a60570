"""The few words of HTML that the pages need, escaped by construction, in a form that XML parsers read too.

Knows nothing of findings. A page is one file: pictures are data URIs, style is inline, there is no script.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from importlib import resources

from lesionlab.core.units import GRAM, HOUNSFIELD, MILLILITRE, MILLIMETRE, ONE, PIXELS, STORED, SUVBW

FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML document may hold, and controls that no page should."""

UNIT_WORDS = {SUVBW: "g/ml (SUVbw)", HOUNSFIELD: "HU", ONE: "", STORED: "stored values"}
DECIMALS = {SUVBW: 2, MILLILITRE: 2, GRAM: 1, MILLIMETRE: 1, HOUNSFIELD: 0}
MISSING = "–"
VOID = ("img", "meta", "br")


class Html(str):
    """Text that is markup already; any other str is escaped where it enters a tag."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """Any value as safe text: markup characters escaped, forbidden characters replaced."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(FORBIDDEN.sub("\ufffd", str(text)), quote=True))


def join(parts: Iterable[object]) -> Html:
    """Several pieces one after another."""
    return Html("".join(escaped(part) for part in parts))


def tag(element: str, /, *children: object, **attributes: object) -> Html:
    """An element; children that are not Html are escaped. `class_` stands for class, None is left out."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Html(f"<{element}{words}/>" if element in VOID else f"<{element}{words}></{element}>")
    return Html(f"<{element}{words}>{join(children)}</{element}>")


def picture(png: bytes, alt: str, caption: object = "", width_px: int | None = None) -> Html:
    """A figure with its PNG inside the page, an alternative text and, where given, a caption."""
    uri = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    style = None if width_px is None else f"width:{width_px}px"
    below = tag("figcaption", caption) if caption else Html("")
    return tag("figure", tag("img", src=uri, alt=alt, style=style), below)


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: object = "", class_: str = ""
) -> Html:
    """A table with column headers; the first cell of each row is the row's header."""
    first = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = (tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    above = tag("caption", caption) if caption else Html("")
    inner = tag("table", above, tag("thead", first), tag("tbody", join(body)), class_=class_ or None)
    return tag("div", inner, class_="wide")


def beside(head: Sequence[object], rows: Sequence[Sequence[object]], count: int, *, class_: str = "") -> Html:
    """One long table as up to `count` shorter ones beside each other, of about equal length."""
    length = max(1, -(-len(rows) // max(1, count)))
    pieces = (rows[start : start + length] for start in range(0, len(rows), length))
    return tag("div", *(table(head, piece, class_=class_) for piece in pieces), class_="beside")


def listing(items: Iterable[object]) -> Html:
    """A bulleted list."""
    return tag("ul", join(tag("li", item) for item in items))


def document(title: str, *body: object) -> Html:
    """A whole page. It asks the browser itself to load nothing from elsewhere."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    style = resources.files("lesionlab.report").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(style)),
    )
    return Html("<!DOCTYPE html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en") + "\n")


def unit_words(unit: str) -> str:
    """A UCUM unit as people write it; the count unit is empty."""
    return UNIT_WORDS.get(unit, unit.replace(PIXELS, "pixels"))


def number(value: float, unit: str = ONE) -> str:
    """A value for reading: decimals by unit, whole counts without any, NaN as a dash; zero has no sign."""
    value = float(value)
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit in DECIMALS:
        text = f"{value:z.{DECIMALS[unit]}f}"
    elif value.is_integer() and abs(value) < 1e9:
        text = f"{value:z.0f}"
    else:
        text = f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def quantity(value: float, unit: str) -> str:
    """A value with its unit in words."""
    text = number(value, unit)
    return text if text == MISSING else f"{text} {unit_words(unit)}".rstrip()
