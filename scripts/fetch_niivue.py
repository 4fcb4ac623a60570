"""Fetch the viewer NiiVue from the npm registry that this machine is configured for, into the package.

    python scripts/fetch_niivue.py [TARBALL]

Uses npm where it is installed, else plain HTTPS to the registry named by NPM_CONFIG_REGISTRY. A tarball that
was fetched elsewhere may be given instead. Whatever its way, its SHA-512 must be the one below.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

NAME, VERSION = "@niivue/niivue", "0.69.0"
INTEGRITY = "sha512-YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
"""Subresource integrity of the tarball, as the registry states it."""
WANTED = {"package/dist/index.js": "niivue.js", "package/package.json": "package.json"}
TARGET = Path(__file__).parents[1] / "src/lesionlab/serve/web/static/vendor/niivue"
WAIT_S = 120


def main(arguments: list[str]) -> int:
    """Put NiiVue into its place unless it is there; 1 with a line of why where it cannot be had."""
    if is_there():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            tarball = Path(arguments[0]) if arguments else fetched(Path(folder))
            unpack(tarball)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError) as error:
            needed = "npm, or NPM_CONFIG_REGISTRY, for the viewer of the page"
            sys.stderr.write(f"found no {NAME} {VERSION} ({error}); needed {needed}\n")
            return 1
    return 0


def is_there() -> bool:
    """True when this very version lies in its place."""
    try:
        known = json.loads((TARGET / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(known.get("version") == VERSION and (TARGET / "niivue.js").is_file())


def fetched(folder: Path) -> Path:
    """The tarball, by npm or by HTTPS."""
    npm = shutil.which("npm")
    if npm is not None:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--silent", "--pack-destination", str(folder)]
        subprocess.run(command, check=True, timeout=WAIT_S, cwd=folder, stdout=subprocess.DEVNULL)
        return next(folder.glob("*.tgz"))
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "").rstrip("/")
    if not registry.startswith("https://"):
        raise OSError("no npm, and NPM_CONFIG_REGISTRY names no https registry")
    tarball = folder / "niivue.tgz"
    address = f"{registry}/{NAME}/-/niivue-{VERSION}.tgz"
    with urllib.request.urlopen(address, timeout=WAIT_S) as answer:  # noqa: S310 (https, see above)
        tarball.write_bytes(answer.read())
    return tarball


def unpack(tarball: Path) -> None:
    """Check the tarball and put the files that the page needs into their place."""
    content = tarball.read_bytes()
    digest = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != INTEGRITY:
        raise ValueError(f"its integrity is {digest}")
    TARGET.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tarball) as archive:
        for member, name in WANTED.items():
            inner = archive.extractfile(member)
            if inner is None:
                raise ValueError(f"it holds no {member}")
            # package.json last: where it lies, the rest is whole
            (TARGET / name).write_bytes(inner.read())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
