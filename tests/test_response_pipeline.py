"""Two timepoints from their files: alignment, reference places, SUL, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

import phantoms
from lesionlab import examine, find_recipe, save_volume, write_findings
from lesionlab.core.case import AcquisitionFacts, ChannelFacts
from lesionlab.core.errors import DatasetError, GeometryError, RecipeError
from lesionlab.core.rigid import Rigid
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline import Places, findings_of_mask, with_references
from lesionlab.pipeline.response import Rules, Scan, compare, sul_factor
from lesionlab.predict import load_bundle
from lesionlab.read import load_mask, load_volume
from lesionlab.report.response import write_comparison

RECIPE = find_recipe("pet-threshold")
GRID = Geometry((48, 44, 50), (4.0, 4.0, 4.0), (-98.0, -86.0, -94.0))
LIVER = (-45.0, 5.0, 0.0)
BALLS = [((40.0, 10.0, 30.0), 14.0, 9.0), ((10.0, 30.0, -40.0), 11.0, 6.0)]
LATER = [((40.0, 10.0, 30.0), 11.0, 5.0), ((10.0, 30.0, -40.0), 11.0, 5.8)]
TURN = Rotation.from_euler("xyz", [4, -3, 5], degrees=True).as_matrix()
MOTION = Rigid(tuple(TURN.ravel()), (8.0, -6.0, 10.0))
STILL = Rigid()
BODY = "70,175,M"


def write_scan(folder: Path, balls, motion: Rigid = STILL, *, truth: bool = True) -> Path:
    """A torso with a liver of SUVbw 2 and lesions, moved; suv.nii.gz and truth.nii.gz."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), -1)
    place = motion.inverse().apply(GRID.to_world(index))
    inside = (place[..., 0] / 85) ** 2 + (place[..., 1] / 65) ** 2 + (place[..., 2] / 85) ** 2 < 1
    suv, mask = np.where(inside, 0.7, 0.0), np.zeros(GRID.shape, np.uint8)
    suv[np.linalg.norm(place - LIVER, axis=-1) < 30] = 2.0
    for centre, radius, value in balls:
        ball = np.linalg.norm(place - centre, axis=-1) < radius
        suv[ball], mask[ball] = value, 1
    suv = ndimage.gaussian_filter(suv, 0.4) + np.random.default_rng(len(balls)).normal(0, 0.02, GRID.shape)
    folder.mkdir(parents=True)
    save_volume(Volume(suv.astype(np.float32), GRID, SUVBW), folder / "suv.nii.gz")
    if truth:
        save_volume(Volume(mask, GRID, "1"), folder / "truth.nii.gz")
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, Path]:
    return write_scan(tmp_path / "before", BALLS), write_scan(tmp_path / "after", LATER, MOTION)


def test_a_moved_follow_up_is_laid_onto_the_baseline(scans, tmp_path):
    before = Scan(scans[0], places=Places(liver="-45,5,0"), body=BODY)
    seen = []
    found = compare(before, Scan(scans[1], body=BODY), RECIPE, progress=lambda _, share: seen.append(share))
    back = found.motion.apply(MOTION.apply(np.array([b[0] for b in BALLS])))
    assert np.linalg.norm(back - [b[0] for b in BALLS], axis=1).max() < 2.0
    assert [(c.match.kind, c.match.baseline) for c in found.response.changes] == [
        ("matched", (1,)),
        ("matched", (2,)),
    ]
    assert all(change.match.overlap_ml > 0 for change in found.response.changes)
    assert found.response.changes[0].percent["SUVmax"] == pytest.approx(100 * (5 / 9 - 1), abs=4)
    # the liver's place was carried over: 2.0 at both timepoints
    for findings in (found.baseline, found.followup):
        assert findings.lesions.totals["liver_SUVmean"] == pytest.approx(2.0, abs=0.02)
    verdict = found.response.percist
    assert (verdict.category, verdict.assessable) == ("PMR", True)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    page = write_comparison(found, tmp_path / "out")
    assert sorted(p.name for p in page.parent.iterdir()) == [
        "changes.csv",
        "columns.csv",
        "report.html",
        "response.json",
    ]
    record = json.loads((tmp_path / "out" / "response.json").read_text())
    assert record["category"] == "PMR"
    assert record["changes"][0]["SULpeak_change"] == pytest.approx(
        found.response.changes[0].percent["SULpeak"]
    )
    assert len(record["checks"]) == 8
    assert record["followup"]["source"] == str(scans[1])
    rows = (tmp_path / "out" / "changes.csv").read_text().splitlines()
    assert rows[0].startswith("baseline_lesions,followup_lesions,kind,overlap_ml,distance_mm,SUVmax_baseline")
    assert [row.split(",")[:3] for row in rows[1:]] == [["1", "1", "matched"], ["2", "2", "matched"]]


def test_a_place_that_the_follow_up_does_not_show_is_unknown_there(scans):
    for name in ("suv", "truth"):  # without the right third, where the liver is
        whole = load_volume(scans[1] / f"{name}.nii.gz")
        origin = tuple(GRID.to_world((0, 0, 22)))
        part = Geometry((48, 44, 28), GRID.spacing, origin)
        save_volume(Volume(whole.array[:, :, 22:], part, whole.unit), scans[1] / f"{name}.nii.gz")
    before = Scan(scans[0], places=Places(liver="-45,5,0"), body=BODY)
    found = compare(before, Scan(scans[1], body=BODY), RECIPE, Rules(align="none", within_mm=40.0))
    assert found.baseline.lesions.totals["liver_SUVmean"] == pytest.approx(2.0, abs=0.02)
    assert "liver_SUVmean" not in found.followup.lesions.totals
    assert "warning: the place of the liver, carried over, is outside the follow-up scan" in found.notes
    assert found.response.percist.category == "PMR"
    assert any("whether they are comparable is open" in note for note in found.notes)
    with pytest.raises(GeometryError, match="outside the image"):  # said of the follow-up itself
        compare(before, Scan(scans[1], places=before.places), RECIPE, Rules(align="none"))


def test_lesions_may_come_from_examine_from_masks_and_from_a_method(scans, tmp_path):
    bundle = load_bundle("pet-threshold")
    write_findings(examine(scans[0], bundle), tmp_path / "examined")
    plain = Rules(align="none")
    mixed = compare(
        Scan(tmp_path / "examined"), Scan(scans[1], mask=scans[1] / "truth.nii.gz"), RECIPE, plain
    )
    assert mixed.baseline.provenance.bundle == "pet-threshold"
    assert mixed.followup.provenance.bundle == "mask file"
    assert mixed.motion == Rigid()
    assert mixed.settings["alignment"].startswith("none")
    drawn = compare(Scan(scans[0]), Scan(scans[1]), bundle, plain)
    assert drawn.baseline.lesions.rows == mixed.baseline.lesions.rows
    # without weight, height and sex there are changes but no category
    assert drawn.response.percist.category == ""
    assert not math.isnan(drawn.response.totals.percent["SUVmax"])
    assert "baseline: no SUL: PatientWeight absent" in drawn.notes
    bare = write_scan(tmp_path / "bare", BALLS, truth=False)
    with pytest.raises(DatasetError, match=r"a scan without lesions; needed a mask, contours, or a method"):
        compare(Scan(bare), Scan(scans[1]), RECIPE, plain)


def test_a_channel_that_only_one_timepoint_has_aligns_nothing(scans):
    ct = Volume(np.full(GRID.shape, -50, np.int16), GRID, HOUNSFIELD)
    save_volume(ct, scans[0] / "ct.nii.gz")
    with pytest.raises(RecipeError, match="channel ct; needed one of both: suv"):
        compare(Scan(scans[0]), Scan(scans[1]), RECIPE, Rules(align="ct"))


def header_case(**header):
    case = phantoms.pet_case(np.ones((4, 4, 4)), Geometry((4, 4, 4), (4.0, 4.0, 4.0)))
    return replace(case, facts=AcquisitionFacts({"suv": ChannelFacts("PT", header=header)}))


def test_the_factor_of_sul_comes_from_the_header():
    case = header_case(PatientWeight=70.0, PatientSize=1.75, PatientSex="M")
    james = (1.10 * 70 - 128 * (70 / 175) ** 2) / 70
    assert sul_factor(case, "james128")[0] == pytest.approx(james)
    assert sul_factor(case, "morgan")[0] == pytest.approx((1.10 * 70 - 120 * (70 / 175) ** 2) / 70)
    janma = 9270 / (6680 + 216 * 70 / 1.75**2)
    assert sul_factor(case, "janmahasatian")[0] == pytest.approx(janma)
    # what is given replaces the header
    assert sul_factor(case, "james128", "60,160,f")[0] == pytest.approx(
        (1.07 * 60 - 148 * (60 / 160) ** 2) / 60
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"PatientSize": 1.75, "PatientSex": "M"}, "PatientWeight absent"),
        ({"PatientWeight": 70.0, "PatientSex": "M"}, "PatientSize absent"),
        ({"PatientWeight": 70.0, "PatientSize": 1.75}, "PatientSex is neither M nor F"),
        ({"PatientWeight": 70.0, "PatientSize": 1.75, "PatientSex": "O"}, "PatientSex is neither M nor F"),
        ({"PatientWeight": 400.0, "PatientSize": 1.5, "PatientSex": "F"}, "gives no lean body mass"),
    ],
)
def test_a_factor_is_never_guessed(header, reason):
    factor, notes = sul_factor(header_case(**header), "james128")
    assert math.isnan(factor)
    assert reason in notes[-1]


@pytest.mark.parametrize("body", ["70", "70,175,X", "seventy,175,M", "-70,175,M", "nan,175,M", "70,0,M"])
def test_a_body_that_is_none(body):
    with pytest.raises(RecipeError, match="needed weight_kg,height_cm,sex"):
        sul_factor(header_case(), "james128", body)


def test_a_label_becomes_the_liver_and_is_no_lesion(scans):
    mask = scans[0] / "truth.nii.gz"
    labels = load_mask(mask).array.copy()
    labels[phantoms.ball_mask(GRID, LIVER, 12.0)] = 2
    save_volume(Volume(labels, GRID, "1"), mask)
    findings = findings_of_mask(scans[0], mask, RECIPE)
    assert len(findings.lesions.rows) == 3
    with_liver = with_references(findings, RECIPE, Places(liver="label:2"))
    assert len(with_liver.lesions.rows) == 2
    assert with_liver.lesions.totals["liver_SUVmean"] == pytest.approx(2.0, abs=0.02)
    assert with_liver.prediction.mask.array.max() == 1
    assert findings.scores is not None and with_liver.scores is None
    assert any(note.startswith("not compared with the truth") for note in with_liver.lesions.notes)
    point = ",".join(str(at) for at in LIVER)
    assert with_references(findings, RECIPE, Places(liver=point)).scores is findings.scores
    assert with_references(findings, RECIPE, Places()) is findings


def test_a_liver_label_given_once_is_no_new_lesion_at_follow_up(scans):
    for scan in scans:
        labels = load_mask(scan / "truth.nii.gz").array.copy()
        near = (
            np.linalg.norm(GRID.to_world(np.indices(GRID.shape).transpose(1, 2, 3, 0)) - LIVER, axis=-1) < 12
        )
        labels[near & (labels == 0)] = 2
        save_volume(Volume(labels, GRID, "1"), scan / "truth.nii.gz")
    before, plain = Scan(scans[0], places=Places(liver="label:2"), body=BODY), Rules(align="none")
    with pytest.raises(RecipeError, match=r"label:2 given for the baseline alone.*needed --liver twice"):
        compare(before, Scan(scans[1], body=BODY), RECIPE, plain)
    both = compare(before, Scan(scans[1], places=before.places, body=BODY), RECIPE, plain)
    assert len(both.followup.lesions.rows) == 2


def test_what_a_reference_gives_is_no_longer_said_to_lack_one(scans):
    recipe = RECIPE.changed(biomarkers={"delineations": ["percist", "liver"]})
    findings = findings_of_mask(scans[0], scans[0] / "truth.nii.gz", recipe)
    assert len([note for note in findings.lesions.notes if "none was given" in note]) == 2
    place = ",".join(str(at) for at in LIVER)
    both = with_references(findings, recipe, Places(liver=place)).lesions
    assert both.totals["TMTV_percist"] > 0 and not any("none was given" in note for note in both.notes)
    blood = with_references(findings, recipe, Places(blood=place)).lesions
    assert [note for note in blood.notes if "none was given" in note] == [
        "MTV_liver and TLG_liver need a liver reference; none was given"
    ]


def test_places_that_are_none(scans):
    findings = findings_of_mask(scans[0], scans[0] / "truth.nii.gz", RECIPE)
    with pytest.raises(RecipeError, match="liver reference: found 'there'; needed x,y,z in mm"):
        with_references(findings, RECIPE, Places(liver="there"))
    for words in ("nan,0,0", "0,inf,0", "1,2"):
        with pytest.raises(RecipeError, match=r"blood reference: found '.*'; needed x,y,z in mm"):
            with_references(findings, RECIPE, Places(blood=words))
    with pytest.raises(GeometryError, match="outside the image"):
        with_references(findings, RECIPE, Places(blood="900,0,0"))
    with pytest.raises(DatasetError, match="no voxel of label 7"):
        with_references(findings, RECIPE, Places(blood="label:7"))
    no_suv = RECIPE.model_copy(update={"biomarkers": RECIPE.biomarkers.model_copy(update={"channel": "ct"})})
    with pytest.raises(RecipeError, match="channel ct: found no such channel"):
        with_references(findings, no_suv, Places(liver="0,0,0"))


def test_another_patient_and_an_older_follow_up_are_doubted(scans):
    from lesionlab.pipeline.response import _doubts

    older = header_case(AcquisitionDate="20200101")
    newer = replace(header_case(AcquisitionDate="20200301"), patient_id="P2")
    assert _doubts(older, older) == []
    notes = _doubts(newer, older)
    assert notes[0].startswith("warning: patient P2 at baseline, P1 at follow-up")
    assert notes[1] == "warning: the follow-up (20200101) is older than the baseline (20200301)"
