"""Axes that are almost, but not quite, perpendicular unit vectors: measure and repair.

Rounded header numbers belong here; resampling a truly sheared scan does not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import GeometryError

ROUNDING_DEGREES = 0.01
"""Below this, header numbers were only rounded and the repair is not worth a note."""


def nearest_orthonormal(subject: object, axes: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """The orthonormal matrix closest to `axes` (3 x 3, columns are unit vectors) and a note, "" if trivial.

    Closest in the Frobenius norm: the polar factor U V' of the singular value decomposition (Higham
    1986). Raises GeometryError for axes that span no volume.
    """
    if np.count_nonzero(axes) == 3 and (axes.T @ axes == np.eye(3)).all():
        # most scans lie along the body's axes, where nothing is to be repaired
        return axes + 0.0, ""
    if not np.isfinite(axes).all() or abs(float(np.linalg.det(axes))) < 0.1:
        raise GeometryError(subject, f"axes {np.round(axes, 4).T.tolist()}", "three independent axes")
    left, _, right = np.linalg.svd(axes)
    repaired = left @ right
    cosines = np.clip((repaired * axes).sum(axis=0) / np.linalg.norm(axes, axis=0), -1.0, 1.0)
    moved = max(math.degrees(math.acos(c)) for c in cosines.tolist())
    if moved < ROUNDING_DEGREES:
        return repaired, ""
    kind = "sheared axes" if moved > 1.0 else "axes not orthonormal"
    return repaired, f"{kind}: turned by up to {moved:.3g} degrees to the nearest orthonormal directions"
