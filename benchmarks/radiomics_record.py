"""Records what PyRadiomics, MIRP and Pictologics say of real lesions, for the tests to compare with.

Each tool runs under its own interpreter (docs/conformance.md says how to install them). Bins of one size
begin at the multiple of it at or below the lesion's minimum, which is where PyRadiomics begins.

    python benchmarks/radiomics_record.py DATA/sts --pyradiomics PYTHON --mirp PYTHON --pictologics PYTHON
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from peers.naming import from_mirp, from_pictologics, lowest
from peers.protocol import Lesion, Tool

from lesionlab.read.nifti import load_volume

RECORDED = Path(__file__).parents[1] / "tests" / "reference" / "radiomics_peers.json"
LESIONS = ("STS_004/pet", "STS_010/pet", "STS_019/pet", "STS_042/pet", "STS_002/ct", "STS_008/ct")
BIN_SIZE = {"pet": 0.25, "ct": 25.0}
IN_PLANE = ("STS_004/pet", "STS_008/ct")
"""Of these also PyRadiomics' values with neighbours in the slice only (force2D)."""
DIGITS = 11


def lesion_of(data: Path, name: str, **options: object) -> Lesion:
    """One patient's lesion on one scan, as the tools are asked for it."""
    patient, channel = name.split("/")
    image, mask = (data / patient / f"{channel}{end}.nii.gz" for end in ("", "_mask"))
    inside = load_volume(image).array[load_volume(mask).array > 0]
    size = BIN_SIZE[channel]
    return {
        "name": name,
        "image": str(image.resolve()),
        "mask": str(mask.resolve()),
        "bin_size": size,
        "bin_origin": lowest((float(np.min(inside)),), size),
        "voxels": len(inside),
        **options,
    }


def record(tool: Tool, data: Path) -> dict[str, object]:
    """A tool's version and its values of every lesion, by our tags where it follows the standard."""
    translate = {"mirp": from_mirp, "pictologics": from_pictologics}.get(tool.name, dict)
    values = {}
    for name in LESIONS:
        tool.open(lesion_of(data, name, complete=True, exact=True))
        values[name] = _rounded(translate(tool.values(name)))
    found: dict[str, object] = {"version": tool.version, "values": values}
    if tool.name == "pyradiomics":
        in_plane = {}
        for name in IN_PLANE:
            tool.open(lesion_of(data, name, in_plane=True))
            in_plane[name] = _rounded(tool.values(name))
        found["in_plane"] = in_plane
    return found


def _rounded(values: dict[str, float]) -> dict[str, float | None]:
    return {k: float(f"{v:.{DIGITS}g}") if math.isfinite(v) else None for k, v in values.items()}


def main() -> None:
    """Ask each tool that is given and write the file; tools that are not given keep their record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of sarcoma patients, sts")
    for name in ("pyradiomics", "mirp", "pictologics"):
        parser.add_argument(f"--{name}", metavar="PYTHON")
    options = vars(parser.parse_args())
    recorded = json.loads(RECORDED.read_text()) if RECORDED.is_file() else {"peers": {}}
    recorded["made_by"] = "benchmarks/radiomics_record.py"
    recorded["lesions"] = {
        name: {key: lesion[key] for key in ("bin_size", "bin_origin", "voxels")}
        for name in LESIONS
        for lesion in [lesion_of(options["data"], name)]
    }
    for name in ("pyradiomics", "mirp", "pictologics"):
        if options[name]:
            with Tool(name, options[name]) as tool:
                recorded["peers"][name] = record(tool, options["data"])
            print(name, "recorded")
    RECORDED.parent.mkdir(parents=True, exist_ok=True)
    RECORDED.write_text(json.dumps(recorded, indent=0) + "\n")


if __name__ == "__main__":
    main()
