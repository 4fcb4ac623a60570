"""Seconds and memory of LesionLab on one made-up lesion: a sphere of so many voxels with smooth texture.

    python benchmarks/peers/one_size.py VOXELS {without,everything}        prints one line of JSON

`without` leaves out Moran's I and Geary's C. A small lesion is measured first, so that loading kernels is not
counted. Memory is by how much the process grew at most while measuring, the image itself not included
(Linux only).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.ibsi.radiomics import FEATURES, radiomics

SETTINGS = RadiomicsSettings(
    families=tuple(FEATURES), bin_size=1.0, bin_origin=0.0, volume_histogram_bins=1000
)
WITHOUT = SETTINGS.model_copy(update={"families": tuple(name for name in FEATURES if name != "spatial")})


def sphere(voxels: int) -> tuple[Volume, np.ndarray]:
    """An image of about 32 levels with structures of three voxels, and a sphere of that many voxels in it."""
    radius = (voxels * 0.75 / np.pi) ** (1 / 3)
    width = int(2 * radius) + 7
    noise = np.random.default_rng(0).standard_normal((width, width, width), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, 1.5, output=np.float32)
    smooth *= 4.0 / smooth.std()
    smooth += 16.0
    squared = (np.arange(width, dtype=np.float32) - (width - 1) / 2) ** 2
    mask = squared[:, None, None] + squared[:, None] + squared <= radius**2
    np.clip(smooth, 0.0, 31.9, out=smooth)
    return Volume(smooth, Geometry((width, width, width), (1.0, 1.0, 1.0)), "1"), mask


def kilobytes(name: str) -> int:
    """One of the sizes that the kernel keeps of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    """Measure one size."""
    settings = WITHOUT if sys.argv[2] == "without" else SETTINGS
    radiomics(*sphere(2_000), settings)
    image, mask = sphere(int(sys.argv[1]))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    began, busy = time.perf_counter(), time.process_time()
    values, _ = radiomics(image, mask, settings)
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    peak = kilobytes("VmHWM")
    found = {
        "voxels": int(mask.sum()),
        "box": int(mask.size),
        "seconds": taken,
        "processor_seconds": busy,
        "megabytes": (peak - before) / 1024,
        "features": len(values),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
