"""The summary of the benchmarks says what their tables say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "summary.py"))

TABLE = """# Title

| what | ours, s | nnU-Net, s | ratio | ours, GB | nnU-Net, GB | ratio | plans |
|---|---|---|---|---|---|---|---|
| 36 patients | 1.1 | 12.0 | 10.5x | 0.14 | 1.56 | 11.3x | equal |
| 9 patients | 1.0 | 30.0 | 30.0x | 0.14 | 1.56 | 11.3x | equal |

| another | table |
|---|---|
"""


def test_ratios_are_held_against_what_was_aimed_at(tmp_path: Path) -> None:
    (tmp_path / "fingerprint.md").write_text(TABLE)
    lines = SCRIPT["summary"](tmp_path)
    assert "| fingerprint | 36 patients | 10.5x |  | equal | 20x missed |" in lines
    assert "| fingerprint | 9 patients | 30.0x |  | equal | 20x met |" in lines
    assert "| whole body | whole_body.md is not there |  |  |  |  |" in lines


def test_every_committed_table_has_the_columns_that_are_taken() -> None:
    results, taken = ROOT / "benchmarks" / "results", 0
    for source in SCRIPT["SOURCES"]:
        if (file := results / source.file).is_file():
            rows = list(SCRIPT["rows_of"](source, file.read_text()))
            assert rows and all(row[2].endswith("x") and float(row[2][:-1]) > 0 for row in rows), file
            assert all(row[3] == "" or row[3].endswith("x") for row in rows), file
            taken += 1
    assert taken >= 4
