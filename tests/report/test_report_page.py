from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lesionlab.core import units
from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry
from lesionlab.report import page, volumes, write_findings
from lesionlab.report.page import metric_value, metric_words, moment

MakeFindings = Callable[..., Findings]
FILES = {
    "report.html",
    "lesions.csv",
    "columns.csv",
    "patient.json",
    "run.json",
    "mask.nii.gz",
    "lesions.nii.gz",
}


def parsed(path: Path) -> ET.Element:
    """The page as a tree: it is well-formed XML too."""
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own output


def text_of(element: ET.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def check_self_contained(tree: ET.Element) -> None:
    """No script, nothing fetched, every picture inside and described."""
    assert not list(tree.iter("script"))
    assert not list(tree.iter("link"))
    for image in tree.iter("img"):
        assert image.attrib["src"].startswith("data:image/png;base64,")
        assert base64.b64decode(image.attrib["src"].split(",")[1]).startswith(b"\x89PNG")
        assert image.attrib["alt"].strip()
    for element in tree.iter():
        for name, value in element.attrib.items():
            assert "://" not in value, (element.tag, name)
            assert not name.startswith("on")
    style = "".join(element.text or "" for element in tree.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (m for m in tree.iter("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.attrib["content"].startswith("default-src 'none'")


def test_a_patients_page_and_files(two_lesions: Findings, tmp_path: Path) -> None:
    path = write_findings(two_lesions, tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    assert {item.name for item in path.parent.iterdir()} == FILES
    tree = parsed(path)
    check_self_contained(tree)
    text = text_of(tree)
    assert "2 lesions" in text
    assert "1.50 ml TMTV" in text  # 25 voxels of 0.06 ml
    assert "2.67 g/ml (SUVbw) SUVmax" in text
    assert "Agreement with the truth" in text
    assert "Dice 0.813" in text or "Dice 0.812" in text
    assert "volume error (ml) −1.50" in text
    assert "lesion PPV –" in text
    assert "1 connected part(s) of the truth that the refined mask does not touch" in text
    assert "Lesion 1" in text
    assert "Lesion 2" in text
    for origin in (
        "a1" * 32,
        "b2" * 32,
        "c3" * 32,
        "read 1.2 s",
        "numpy 2.0",
        "threshold.suv 4.0",
        "IBSI:84IY",
    ):
        assert origin in text
    assert "Research software, not a medical device" in text
    # overview, two lesions, one missed part
    assert len(list(tree.iter("img"))) == 4


def test_the_answer_comes_before_notes_pictures_and_origin(two_lesions: Findings, tmp_path: Path) -> None:
    tree = parsed(write_findings(two_lesions, tmp_path / "out"))
    heads = [text_of(element) for element in tree.iter() if element.tag in ("h1", "h2")]
    assert heads == [
        "case-1",
        "Notes",
        "Overview",
        "Lesions",
        "Each lesion",
        "In the truth, not found",
        "Agreement with the truth",
        "Where every number comes from",
    ]


def test_tables_have_headers_with_scope(two_lesions: Findings, tmp_path: Path) -> None:
    tree = parsed(write_findings(two_lesions, tmp_path / "out"))
    assert tree.attrib["lang"] == "en"
    tables = list(tree.iter("table"))
    assert tables
    for one in tables:
        head, *body = one.iter("tr")
        assert all(cell.tag == "th" and cell.get("scope") == "col" for cell in head)
        assert body
        for row in body:
            assert row[0].tag == "th"
            assert row[0].get("scope") == "row"
            assert len(row) == len(head)


def test_lesion_table_states_units_and_dashes(two_lesions: Findings, tmp_path: Path) -> None:
    tree = parsed(write_findings(two_lesions, tmp_path / "out"))
    lesions = next(t for t in tree.iter("table") if text_of(t).startswith("Lesion"))
    assert text_of(lesions) == (
        "Lesion voxels SUVmax g/ml (SUVbw) SUVpeak g/ml (SUVbw) MTV ml 1 24 2.67 – 1.44 2 1 2.67 – 0.06"
    )


def test_everything_that_comes_from_outside_is_escaped(make_findings: MakeFindings, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&\x00\x1b"
    findings = make_findings(case_id=evil, notes=(evil,))
    run = replace(findings.provenance, bundle=evil, source=evil, settings={evil: evil}, versions={evil: evil})
    path = write_findings(replace(findings, provenance=run), tmp_path / "out", figures={evil: b"\x89PNG"})
    tree = parsed(path)
    check_self_contained(tree)
    assert "<script" not in path.read_text(encoding="utf-8")
    assert text_of(tree).count("<script>alert(1)</script>") >= 7


def test_no_lesion_is_a_result(make_findings: MakeFindings, tmp_path: Path) -> None:
    path = write_findings(make_findings(), tmp_path / "out")
    tree = parsed(path)
    check_self_contained(tree)
    text = text_of(tree)
    assert "No lesion found" in text
    assert "0.00 ml TMTV" in text
    assert "Each lesion" not in text
    for name in ("mask.nii.gz", "lesions.nii.gz"):
        assert not sitk.GetArrayFromImage(sitk.ReadImage(str(path.parent / name))).any()


def test_a_lesion_of_one_voxel(make_findings: MakeFindings, tmp_path: Path) -> None:
    mask = np.zeros((20, 30, 40), bool)
    mask[0, 0, 0] = True  # in a corner of the image
    text = text_of(parsed(write_findings(make_findings(mask, truth=mask, raw=mask), tmp_path / "out")))
    assert "1 lesion found" in text
    assert "not found" not in text


def test_a_single_image(make_findings: MakeFindings, tmp_path: Path) -> None:
    geometry = Geometry((1, 60, 80), (1.0, 0.1, 0.1))
    mask = np.zeros(geometry.shape, bool)
    mask[0, 10:20, 30:50] = True
    image = np.arange(4800, dtype=np.uint8).reshape(geometry.shape)
    findings = make_findings(mask, geometry=geometry, suv=image, unit=units.STORED, truth=mask)
    tree = parsed(write_findings(findings, tmp_path / "out"))
    check_self_contained(tree)
    assert "Image" in [text_of(element) for element in tree.iter("h2")]
    assert "Shown as stored." in text_of(tree)


def test_only_the_largest_lesions_are_pictured_and_the_rest_is_named(
    make_findings: MakeFindings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LESIONS_PICTURED", 2)
    monkeypatch.setattr(page, "LESIONS_LISTED", 3)
    mask = np.zeros((20, 30, 40), bool)
    mask[5, 5, 5:30:5] = True  # five single voxels
    mask[5, 6, 20] = True  # the fourth is the largest
    tree = parsed(write_findings(make_findings(mask), tmp_path / "out"))
    shown = [text_of(element).split()[1] for element in tree.iter("h3") if text_of(element)[:7] == "Lesion "]
    assert shown == ["4", "1"]
    assert "These are the 2 largest; all are in lesions.csv." in text_of(tree)
    assert "2 more lesions are in lesions.csv." in text_of(tree)


def test_many_notes_are_cut_on_top_and_whole_at_the_end(make_findings: MakeFindings, tmp_path: Path) -> None:
    unknown = "us: pixel spacing unknown: 1 mm assumed"
    notes = (*(f"note number {n}" for n in range(20)), "SUVbw warning: look here", unknown)
    text = text_of(parsed(write_findings(make_findings(notes=notes), tmp_path / "out")))
    assert text.count("note number 5") == 2
    assert text.count("note number 6") == 1
    assert text.index("SUVbw warning: look here") < text.index(unknown) < text.index("note number 0")
    assert "14 more under" in text


def test_an_oblique_grid_says_so(make_findings: MakeFindings, tmp_path: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    geometry = Geometry((8, 8, 8), (3.0, 3.0, 3.0), (0, 0, 0), (0, s, c, 0, c, -s, 1, 0, 0))
    suv = np.ones(geometry.shape, np.float32)
    text = text_of(parsed(write_findings(make_findings(geometry=geometry, suv=suv), tmp_path / "out")))
    assert "oblique by 17°" in text


def test_the_masks_hold_labels_and_lesion_numbers(two_lesions: Findings, tmp_path: Path) -> None:
    path = write_findings(two_lesions, tmp_path / "out")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path.with_name("mask.nii.gz"))))
    numbers = sitk.GetArrayFromImage(sitk.ReadImage(str(path.with_name("lesions.nii.gz"))))
    assert np.array_equal(mask, two_lesions.prediction.mask.array)
    assert np.array_equal(numbers, two_lesions.lesions.labels.array)


def test_further_figures_are_shown_with_their_captions(make_findings: MakeFindings, tmp_path: Path) -> None:
    figures = {"Training curves of fold 0": b"\x89PNG rest"}
    tree = parsed(write_findings(make_findings(), tmp_path / "out", figures=figures))
    assert "Training curves of fold 0" in [image.get("alt") for image in tree.iter("img")]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_nothing(
    two_lesions: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes.sitk, "WriteImage", full_disk)
    with pytest.raises(WriteError, match="No space left on device") as caught:
        write_findings(two_lesions, tmp_path / "out")
    assert caught.value.subject == str(tmp_path / "out" / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_an_earlier_report_as_it_was(
    two_lesions: Findings, make_findings: MakeFindings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    write_findings(two_lesions, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(page, "patient_page", full_disk)
    with pytest.raises(WriteError, match="No space left on device"):
        write_findings(make_findings(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_report_replaces_the_first_and_spares_other_files(
    two_lesions: Findings, make_findings: MakeFindings, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    write_findings(two_lesions, folder)
    (folder / "mine.txt").write_text("keep")
    (folder / "patient-2").mkdir()
    path = write_findings(make_findings(), folder)
    assert "No lesion found" in path.read_text(encoding="utf-8")
    assert {item.name for item in folder.iterdir()} == FILES | {"mine.txt", "patient-2"}
    assert (folder / "mine.txt").read_text() == "keep"


def test_a_file_where_the_folder_should_be_is_refused(two_lesions: Findings, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("a file")
    with pytest.raises(WriteError, match="out"):
        write_findings(two_lesions, place)
    assert place.read_text() == "a file"


def test_same_findings_same_page(two_lesions: Findings, tmp_path: Path) -> None:
    first, second = (write_findings(two_lesions, tmp_path / name).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("name", "value", "words", "shown"),
    [
        ("dice", 1.0, "Dice", "1.000"),
        ("volume_error_percent", -12.34, "volume error (%)", "−12.3"),
        ("fp_volume_ml", 3.456, "FP volume (ml)", "3.46"),
        ("lesions_found", 3.0, "lesions found", "3"),
        ("lesions_error_percent", 33.333, "lesions error (%)", "33.3"),
        ("TLG_error", -4.0, "TLG error (g)", "−4.00"),
        ("lesion_sensitivity", float("nan"), "lesion sensitivity", "–"),
    ],
)
def test_scores_in_words(name: str, value: float, words: str, shown: str) -> None:
    assert metric_words(name) == words
    assert metric_value(name, value) == shown


def test_moments() -> None:
    assert moment("2026-01-02T03:04:05+00:00") == "2026-01-02 03:04 UTC"
    assert moment("yesterday") == "yesterday"


def test_the_style_needs_no_escaping() -> None:
    style = Path(page.__file__).with_name("page.css").read_text(encoding="utf-8")
    assert not re.search("[<&>]", style)
