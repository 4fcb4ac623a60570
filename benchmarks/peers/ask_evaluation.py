"""Serves LesionLab's evaluation: all metrics of a case, or those of surfaces alone."""

from __future__ import annotations

from importlib.metadata import version

from masks import pair_of
from protocol import Lesion, Measure, serve

from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import score_case
from lesionlab.evaluate.surface import surface_scores


def opener(case: Lesion) -> Measure:
    """Everything is computed unless the case asks for the part `surface`."""
    mask, truth, spacing = pair_of(case)
    if case["part"] == "surface":
        return lambda: surface_scores(mask, truth, spacing)
    geometry = Geometry(mask.shape, spacing)
    sides = [Volume(array, geometry, "1") for array in (mask, truth)]
    return lambda: dict(score_case(case["name"], *sides).values)


if __name__ == "__main__":
    serve("evaluation", version("lesionlab"), opener)
