"""Hundreds of radiomics columns go into the tables and not onto the pages."""

from __future__ import annotations

import csv
from dataclasses import replace

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.results import Column
from lesionlab.measure.ibsi.radiomics import FEATURES, feature_columns
from lesionlab.report import write_findings
from lesionlab.report.tables import is_radiomics

ALL = RadiomicsSettings(families=tuple(FEATURES), bin_size=0.25)


def with_radiomics(findings):
    columns = feature_columns(ALL, "g/ml{SUVbw}")
    values = {column.name: 0.123456 + k for k, column in enumerate(columns)}
    table = findings.lesions
    rows = tuple({**row, **values} for row in table.rows)
    return replace(findings, lesions=replace(table, columns=table.columns + columns, rows=rows)), columns


def test_every_feature_is_known_as_radiomics_and_nothing_else_is(two_lesions):
    assert all(map(is_radiomics, feature_columns(ALL, "1")))
    assert not any(map(is_radiomics, two_lesions.lesions.columns))
    assert not is_radiomics(Column("status", "1", ""))


def test_the_page_leaves_them_to_the_tables(two_lesions, tmp_path):
    findings, columns = with_radiomics(two_lesions)
    page = write_findings(findings, tmp_path).read_text(encoding="utf-8")
    plain = write_findings(two_lesions, tmp_path / "plain").read_text(encoding="utf-8")
    assert f"{len(columns)} radiomics features of each lesion are in lesions.csv" in page
    assert "radiomics features of each lesion" not in plain
    assert not any(column.name in page for column in columns)
    with (tmp_path / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[1][columns[7].name]) == 7.123456
    with (tmp_path / "columns.csv").open(newline="") as file:
        codes = {row["name"]: row["code"] for row in csv.DictReader(file)}
    assert codes["stat_p90"] == "IBSI:8DWT"
