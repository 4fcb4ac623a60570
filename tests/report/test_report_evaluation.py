"""evaluation.html: what is on it, for one model and for several, and the pictures of the worst cases."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from lesionlab.core.results import Scores
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import METRICS, score_case, score_missing, summarise
from lesionlab.report import (
    ExtraSection,
    ModelResults,
    Pictured,
    case_picture,
    evaluation_page,
    worst_cases,
    write_evaluation_page,
)
from lesionlab.report.evaluation_figures import size_words

GRID = Geometry((12, 20, 24), (4.0, 3.0, 3.0))
SIZES = [{"low_ml": 0.0, "high_ml": 0.5, "lesions": 2, "found": 1, "sensitivity": 0.5}]
SIZES.append({"low_ml": 0.5, "high_ml": None, "lesions": 1, "found": 1, "sensitivity": 1.0})


def block(*corner: int, size: int = 6) -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    if corner:
        array[tuple(slice(c, c + size) for c in corner)] = 1
    return Volume(array, GRID, "1")


def some_scores(shift: int = 2) -> list[Scores]:
    truth = block(2, 4, 4)
    return [
        score_case("P1", block(2, 4, 4 + shift), truth),
        score_case("P2 <b>", truth, truth),
        score_case("P3", block(2, 4, 14), block()),
        score_case("P4", block(), block()),
        score_missing("P5", truth),
    ]


def model(name: str = "unet", shift: int = 2, **more) -> ModelResults:
    scores = some_scores(shift)
    summary = {**summarise(scores), "sensitivity_by_size": SIZES}
    return ModelResults(name, scores, summary, **more)


def root_of(page: str) -> ET.Element:
    return ET.fromstring(page.split("\n", 1)[1])  # noqa: S314 - our own page


def text_of(page: str) -> str:
    """The page as XML, its text with single blanks."""
    return " ".join("".join(root_of(page).itertext()).split())


def rows_below(page: str, title: str) -> list[list[str]]:
    """The rows of the first table under a heading."""
    root = root_of(page)
    section = next(s for s in root.iter("section") if (s.findtext("h2") or "") == title)
    return [["".join(cell.itertext()) for cell in row] for row in next(section.iter("table")).iter("tr")]


def test_the_page_of_one_model_has_every_part():
    png, words = case_picture(block(2, 4, 4), block(2, 4, 6))
    gallery = [Pictured(worst, png, words) for worst in worst_cases(some_scores())]
    found = model(failed={"P9": "grids <differ>"}, gallery=gallery)
    page = evaluation_page([found], METRICS, title="crossval", facts={"lesions": "by any overlap"})
    text = text_of(page)
    assert rows_below(page, "Cases")[1] == ["unet", "5", "1", "1", "1", "1", "1"]
    assert "P9: grids <differ>" in text
    assert "P5: no prediction; counted as one in which nothing was found" in text
    dice = next(row for row in rows_below(page, "Summary") if row[0] == "Dice")
    mean = np.mean([4 / 6, 1.0, 0.0])
    assert dice[1] == f"{mean:.3f}"
    assert dice[7:9] == ["3", "2"]
    cases = rows_below(page, "Every case")
    assert [row[0] for row in cases[1:]] == ["P1", "P2 <b>", "P3", "P4", "P5"]
    assert cases[4][1] == "–"
    assert "by any overlap" in text
    for metric in METRICS:
        assert metric.name == "prediction_missing" or metric.meaning in text
    assert "not a medical device" in text


def test_the_page_loads_nothing_and_runs_nothing():
    page = evaluation_page([model()], METRICS, title="<script>alert(1)</script>", facts={})
    root = root_of(page)
    assert not list(root.iter("script"))
    assert all(image.get("src").startswith("data:image/png;base64,") for image in root.iter("img"))
    assert "default-src" in page
    assert all(link.get("href").startswith("#case-") for link in root.iter("a"))


def test_links_lead_to_the_pictures():
    png, words = case_picture(block(2, 4, 4), block(2, 4, 6))
    gallery = [Pictured(worst, png, words) for worst in worst_cases(some_scores())]
    page = evaluation_page([model(gallery=gallery)], METRICS, title="t", facts={})
    root = root_of(page)
    targets = {element.get("id") for element in root.iter() if element.get("id")}
    links = {link.get("href")[1:] for link in root.iter("a")}
    assert links == targets
    assert len(targets) == len(gallery) > 1


def test_several_models_stand_side_by_side_with_what_tests_them():
    extra = ExtraSection("Paired tests", "Holm.", ["metric", "p"], [["Dice", "0.031"]])
    models = [model("unet"), model("threshold", shift=4)]
    page = evaluation_page(models, METRICS, title="both", facts={}, extras=[extra])
    head, *rows = rows_below(page, "Summary")
    assert head == ["Voxel-wise overlap", "unet", "threshold"]
    dice = next(row for row in rows if row[0] == "Dice")
    assert dice[1].startswith(f"{np.mean([4 / 6, 1.0, 0.0]):.3f}")
    assert dice[2].startswith(f"{np.mean([2 / 6, 1.0, 0.0]):.3f}")
    assert dice[2].endswith("n 3")
    assert rows_below(page, "Paired tests") == [["metric", "p"], ["Dice", "0.031"]]
    assert [row[0] for row in rows_below(page, "Cases")[1:]] == ["unet", "threshold"]
    assert rows_below(page, "Dice of every case")[1] == ["P1", "0.667", "0.333"]


def test_a_model_without_any_scored_case_says_so(tmp_path):
    empty = ModelResults("none", [], summarise([]), failed={"P1": "no truth"})
    path = write_evaluation_page(tmp_path / "e" / "evaluation.html", [empty], METRICS, title="none")
    text = text_of(path.read_text(encoding="utf-8"))
    assert "No case could be scored." in text
    assert "P1: no truth" in text
    several = evaluation_page([empty, model()], METRICS, title="x", facts={})
    assert "unet" in text_of(several)


def test_probabilities_have_a_figure_and_words():
    curves = {"text": "ECE 0.02", "reliability": [(0.1, 0.2), (math.nan, math.nan)], "dice": [(0.5, 0.8)]}
    curves["froc"] = [(0.0, 0.5), (1.0, 0.9)]
    page = evaluation_page([model(probabilities=curves)], METRICS, title="p", facts={})
    assert "ECE 0.02" in text_of(page)
    assert "Probabilities" not in text_of(evaluation_page([model()], METRICS, title="p", facts={}))


def test_the_worst_by_each_metric():
    def case(name: str, **values: float) -> Scores:
        return Scores(name, values)

    scores = [
        case("a", dice=0.9, volume_error_ml=-50.0),
        case("b", dice=0.2, volume_error_ml=3.0),
        case("c", dice=math.nan, volume_error_ml=0.0),
        case("d", dice=1.0, volume_error_ml=-60.0),
        case("e", dice=0.5, volume_error_ml=1.0),
    ]
    found = worst_cases(scores, each=2)
    assert {w.case_id: w.ranks for w in found} == {
        "b": (("dice", 1, 0.2),),
        "e": (("dice", 2, 0.5),),
        "d": (("volume_error_ml", 1, -60.0),),
        "a": (("volume_error_ml", 2, -50.0),),
    }
    assert found[0].case_id == "b"
    assert worst_cases([]) == ()


def coloured(png: bytes) -> tuple[int, int]:
    """Pixels that are clearly blue, and clearly red."""
    array = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red, blue = array[..., 0] - array[..., 2], array[..., 2] - array[..., 0]
    return int((blue > 100).sum()), int((red > 100).sum())


def test_pictures_outline_truth_and_prediction():
    both, words = case_picture(block(2, 4, 4), block(2, 4, 6))
    assert min(coloured(both)) > 200
    assert "no scan was given" in words
    missed, told = case_picture(block(2, 4, 4), block())
    assert coloured(missed)[0] > 200
    assert coloured(missed)[1] == 0
    assert "The prediction is empty." in told
    neither, told = case_picture(block(), block())
    assert coloured(neither) == (0, 0)
    assert "The truth is empty. The prediction is empty." in told


@pytest.mark.parametrize("unit", [SUVBW, "{stored}"])
def test_pictures_lie_on_the_scan_where_there_is_one(unit):
    rng = np.random.default_rng(0)
    image = Volume((rng.random(GRID.shape) * 5).astype(np.float32), GRID, unit)
    png, words = case_picture(block(2, 4, 4), block(2, 4, 6), image)
    without, _ = case_picture(block(2, 4, 4), block(2, 4, 6))
    assert png != without
    assert "no scan" not in words


def test_a_single_image_is_one_picture():
    flat = Geometry((1, 40, 50), (1.0, 0.5, 0.5))
    truth, mask = np.zeros(flat.shape, np.uint8), np.zeros(flat.shape, np.uint8)
    truth[0, 10:20, 10:20] = mask[0, 12:22, 10:20] = 1
    png, _ = case_picture(Volume(truth, flat, "1"), Volume(mask, flat, "1"))
    whole, _ = case_picture(block(2, 4, 4), block(2, 4, 6))
    assert min(coloured(png)) > 100
    assert Image.open(io.BytesIO(png)).width < Image.open(io.BytesIO(whole)).width


def test_ranges_of_sizes_in_words():
    assert [size_words(0, 0.5), size_words(0.5, 2.0), size_words(50, math.inf), size_words(50, None)] == [
        "under 0.5",
        "0.5 to 2",
        "50 and more",
        "50 and more",
    ]
