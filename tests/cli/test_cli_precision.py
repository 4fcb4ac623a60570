"""`--precision` and `--over-body` on the command line, and what the record says of them."""

from __future__ import annotations

import json
from pathlib import Path

from lesionlab.report import save_volume
from networks_phantom import sphere_case


def test_the_record_names_what_ran_the_network(run, tiny_bundle, tmp_path: Path) -> None:
    scan = tmp_path / "anna"
    save_volume(sphere_case(60).channels["suv"], scan / "suv.nii.gz")
    arguments = ("-m", tiny_bundle.folder, "--device", "cpu")
    result = run("examine", scan, *arguments, "--precision", "bf16", "--over-body", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["prediction"]["precision"] == "bf16"
    assert record["settings"]["prediction"]["skip_outside_body"] is True
    notes = " ".join(record["notes"]["prediction"])
    assert "looked at the body alone, 100% of the scan" in notes
    # a processor without bf16 says that it fell back
    assert "predicted with 1 fold(s) by openvino on cpu in bf16" in notes or "has no bf16" in notes
    assert "openvino" in record["versions"]
    refused = run("predict", scan, *arguments, "--precision", "half", "-o", tmp_path / "mask.nii.gz")
    assert refused.exit_code == 1
    assert "found prediction.precision = 'half'; needed 'auto', 'fp32' or 'bf16'" in refused.stderr
    assert not (tmp_path / "mask.nii.gz").exists()
