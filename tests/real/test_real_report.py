"""The report of a real whole-body scan: the body lies as a reader expects it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from lesionlab.pipeline import examine
from lesionlab.report import display, write_findings

pytestmark = pytest.mark.real


def test_a_whole_body_scan_is_shown_upright_with_the_heart_on_the_right_of_the_picture(
    shared_data: Path, tmp_path: Path
) -> None:
    findings = examine(shared_data / "pet_raw_ge" / "image", "pet-threshold")
    suv = findings.case.channels["suv"]
    turn = display.orientation(suv.geometry)
    assert not turn.flat
    coronal = display.projection(turn.turn(suv.array), display.CORONAL)
    labels = turn.turn(findings.lesions.labels.array)
    # What the threshold finds largest is the heart, then the bladder.
    heart, bladder = (
        np.argwhere(display.projection(labels == n, display.CORONAL)).mean(axis=0) for n in (1, 2)
    )
    body = np.argwhere(coronal > 0.4).mean(axis=0)
    assert heart[0] < bladder[0]  # above
    assert heart[1] > body[1]  # the patient's left at the picture's right
    # Kidneys lie behind the middle of the body: at the right of the sagittal picture, where the back is.
    sagittal = display.projection(turn.turn(suv.array), display.SAGITTAL)
    kidney = np.argwhere(display.projection(labels == 5, display.SAGITTAL)).mean(axis=0)
    level = np.argwhere(sagittal[int(kidney[0])] > 0.4).mean()
    assert kidney[1] > level
    path = write_findings(findings, tmp_path / "out")
    tree = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own output
    assert len(list(tree.iter("img"))) == 1 + min(12, len(findings.lesions.rows))
    assert path.stat().st_size < 3_000_000
