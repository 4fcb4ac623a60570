"""The organs of one synthetic torso: where they lie, how large they are, what they take up.

Uptake is FDG-like (SUVbw), density in Hounsfield units. Nothing here knows of voxels or lesions.

Coordinates are LPS in mm: x to the patient's left, y to the back, z to the head; z = 0 is the pelvic floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lesionlab.demo.shapes import Ellipsoid, Point, Solid, Trunk

HEIGHTS_MM = (0.0, 70.0, 150.0, 230.0, 320.0, 410.0, 445.0, 470.0, 495.0)
HALF_WIDTHS_MM = (142.0, 158.0, 147.0, 138.0, 147.0, 154.0, 146.0, 112.0, 62.0)
HALF_DEPTHS_MM = (88.0, 97.0, 92.0, 90.0, 97.0, 96.0, 86.0, 70.0, 58.0)


@dataclass(frozen=True, slots=True)
class Organ:
    """A solid of uniform uptake and density; in a list, later organs replace earlier ones."""

    name: str
    solid: Solid
    suv: float
    hu: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient's body, the organs inside it from first painted to last, and the couch beneath."""

    body: Trunk
    organs: tuple[Organ, ...]
    couch: Ellipsoid
    scale: Point
    """Size of this patient relative to the reference torso, along x, y, z."""

    def place(self, x: float, y: float, z: float) -> Point:
        """A position of the reference torso in this patient."""
        return (x * self.scale[0], y * self.scale[1], z * self.scale[2])

    def organ(self, name: str) -> Organ:
        """The last organ painted under that name; KeyError where there is none."""
        return {organ.name: organ for organ in self.organs}[name]


class _Draw:
    """Random organs about their reference position, in a body of one scale."""

    def __init__(self, rng: np.random.Generator, scale: Point) -> None:
        self.rng, self.scale = rng, scale

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def solid(self, centre: Point, semi: Point, tilt_deg: float = 0.0, jitter_mm: float = 4.0) -> Ellipsoid:
        grow = self.rng.normal(1.0, 0.06, 3).clip(0.85, 1.15)
        moved = [
            c * s + d for c, s, d in zip(centre, self.scale, self.rng.normal(0, jitter_mm, 3), strict=True)
        ]
        sizes = [a * s * g for a, s, g in zip(semi, self.scale, grow, strict=True)]
        tilt = tilt_deg + float(self.rng.normal(0, 3.0))
        return Ellipsoid((moved[0], moved[1], moved[2]), (sizes[0], sizes[1], sizes[2]), tilt)

    def column(self, x: float, y: float, half: Point, middle_z: float) -> Ellipsoid:
        sx, sy, sz = self.scale
        semi = (half[0] * sx, half[1] * sy, half[2] * sz)
        return Ellipsoid((x * sx, y * sy, middle_z * sz), semi, 0.0, power=16.0)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One patient: sizes, positions and uptake drawn about those of an adult after an hour's fasting uptake.

    The same generator state gives the same patient.
    """
    build = float(rng.uniform(0.9, 1.05))
    scale = (
        build * float(rng.uniform(0.97, 1.03)),
        build * float(rng.uniform(0.95, 1.05)),
        float(rng.uniform(0.96, 1.02)),
    )
    heights = tuple(h * scale[2] for h in HEIGHTS_MM)
    widths = tuple(w * scale[0] for w in HALF_WIDTHS_MM)
    body = Trunk(heights, widths, tuple(d * scale[1] for d in HALF_DEPTHS_MM))
    draw = _Draw(rng, scale)
    rim = draw.between(8.0, 22.0)
    organs = (
        Organ("fat", body, 0.3, -100.0),
        Organ("muscle", body.grown(-rim), draw.between(0.5, 0.8), 45.0),
        *_chest(draw),
        *_abdomen(draw),
        *_pelvis(draw),
    )
    couch = Ellipsoid((0.0, max(body.half_depths_mm) + 16.0, 240.0), (190.0, 9.0, 900.0), power=16.0)
    return Anatomy(body, organs, couch, scale)


def _chest(draw: _Draw) -> list[Organ]:
    blood = draw.between(1.3, 1.9)
    air = draw.between(0.35, 0.55)
    marrow = draw.between(1.1, 1.9)
    lungs = (
        Organ("lung right", draw.solid((-78, 2, 362), (52, 68, 98)), air, -780.0),
        Organ("lung left", draw.solid((80, 4, 366), (50, 66, 95)), air, -780.0),
    )
    left_ventricle = draw.solid((42, -30, 338), (29, 27, 37), -38.0)
    return [
        *lungs,
        Organ("mediastinum", draw.solid((2, 6, 408), (33, 52, 86)), blood * 0.85, 40.0),
        Organ("blood pool", draw.solid((22, -26, 352), (46, 36, 40), -25.0), blood, 45.0),
        Organ("heart", left_ventricle, draw.between(2.0, 11.0), 50.0),
        Organ("left ventricle", left_ventricle.grown(-11.0), blood, 45.0),
        Organ("spine", draw.column(0, 56, (19, 18, 205), 300), marrow, 180.0),
        Organ("spinal canal", draw.column(0, 79, (8, 7, 205), 300), 0.9, 35.0),
        Organ("aorta", draw.column(15, 30, (11, 11, 140), 280), blood, 45.0),
    ]


def _abdomen(draw: _Draw) -> list[Organ]:
    liver, gut = draw.between(1.7, 2.8), draw.between(1.0, 2.4)
    organs = [
        Organ("liver left", draw.solid((8, -42, 292), (58, 32, 30), -15.0), liver, 60.0),
        Organ("liver", draw.solid((-68, -6, 278), (66, 66, 60), 8.0), liver, 60.0),
        Organ("spleen", draw.solid((94, 32, 285), (25, 34, 42), -10.0), draw.between(1.3, 2.1), 50.0),
        Organ("stomach", draw.solid((52, -38, 262), (34, 26, 30), -30.0), draw.between(1.2, 2.8), 30.0),
    ]
    for _ in range(int(draw.rng.integers(5, 10))):
        centre = (draw.between(-95, 95), draw.between(-60, -15), draw.between(125, 215))
        semi = (draw.between(14, 30), draw.between(11, 18), draw.between(9, 16))
        uptake = gut * draw.between(0.7, 1.5)
        organs.append(Organ("bowel", draw.solid(centre, semi, draw.between(-60, 60)), uptake, 20.0))
    for name, side, middle in (("kidney right", -1, 208), ("kidney left", 1, 220)):
        kidney = draw.solid((side * 63, 46, middle), (24, 23, 49), -side * 10.0)
        x, y, z = kidney.centre_mm
        pelvis = Ellipsoid((x - side * 10, y - 3, z), (9.0, 9.0, draw.between(14, 24)), kidney.tilt_deg)
        organs.append(Organ(name, kidney, draw.between(2.5, 6.5), 35.0))
        organs.append(Organ(f"{name} pelvis", pelvis, draw.between(6.0, 22.0), 15.0))
    return organs


def _pelvis(draw: _Draw) -> list[Organ]:
    marrow, fill = draw.between(0.9, 1.5), draw.between(0.75, 1.35)
    bladder = (34 * fill, 29 * fill, 27 * fill)
    organs = []
    for name, side in (("ilium right", -1), ("ilium left", 1)):
        organs.append(Organ(name, draw.solid((side * 84, 26, 118), (13, 36, 52), side * 22.0), marrow, 260.0))
        organs.append(Organ("femur", draw.solid((side * 92, 4, 38), (24, 24, 25)), marrow * 0.6, 320.0))
    organs.append(Organ("sacrum", draw.solid((0, 60, 92), (42, 17, 40)), marrow, 220.0))
    organs.append(
        Organ("bladder", draw.solid((0, -22, 42 + 16 * fill), bladder), draw.between(8.0, 35.0), 5.0)
    )
    return organs
