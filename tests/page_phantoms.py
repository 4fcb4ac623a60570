"""A PET/CT study with known lesions, and the service's page in a real browser."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dicom_phantoms
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.web.app import WebServer
from lesionlab.serve.web.pages import NIIVUE
from lesionlab.serve.worker import Worker

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--no-first-run",
)
PET = Geometry((24, 30, 32), (5.0, 5.0, 5.0), (-80.0, -75.0, -60.0))
CT = Geometry((24, 60, 64), (5.0, 2.5, 2.5), (-81.0, -76.0, -60.0))
Lesion = tuple[tuple[int, int, int], float, float]
LESIONS: tuple[Lesion, ...] = (((8, 12, 12), 3.2, 12.0), ((16, 18, 22), 2.5, 9.0))
"""Centre (z, y, x) in voxels, radius in voxels, SUVbw."""

# For every visible text: its contrast with what lies behind it (WCAG 2.2, relative luminance)
CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(":disabled")) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""
NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, a, canvas")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.getAttribute("aria-label") || node.innerText?.trim() ||
    [...(node.labels ?? [])].some((label) => label.innerText.trim())))
  .map((node) => node.outerHTML.slice(0, 120))"""


def write_petct(
    folder: Path, *, lesions: Sequence[Lesion] = LESIONS, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Path:
    """Write a DICOM PET/CT with hot balls, by default two, the second one in the lung; returns the folder.

    `shift` (x, y, z in mm) moves the patient on the table.
    """
    pet, ct = (replace(g, origin=tuple(np.add(g.origin, shift).tolist())) for g in (PET, CT))
    z, y, x = np.indices(PET.shape)
    suv = np.where(((y - 15) / 12) ** 2 + ((x - 16) / 14) ** 2 < 1, 0.8, 0.02)
    for centre, radius, value in lesions:
        near = sum((axis - c) ** 2 for axis, c in zip((z, y, x), centre, strict=True)) < radius**2
        suv[near] = value
    z, y, x = np.indices(CT.shape)
    hounsfield = np.where(((y - 30) / 24) ** 2 + ((x - 32) / 28) ** 2 < 1, 40.0, -1000.0)
    hounsfield[(((y - 32) / 14) ** 2 + ((x - 44) / 7) ** 2 < 1) & (z > 10)] = -800.0
    hounsfield[(y - 46) ** 2 + (x - 32) ** 2 < 16] = 600.0
    for name in ("pet", "ct"):
        (folder / name).mkdir(parents=True)
    dicom_phantoms.write_pet(folder / "pet", Volume(suv, pet, SUVBW))
    dicom_phantoms.write_ct(folder / "ct", Volume(hounsfield, ct, HOUNSFIELD))
    return folder


@contextmanager
def browser():
    """A headless Chromium that draws in software; skips where it, Playwright or the viewer is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Python's playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"needs {CHROMIUM} (Debian's package chromium)")
    if not NIIVUE.is_file():
        pytest.skip("needs the viewer NiiVue: make niivue")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield opened
        opened.close()


@contextmanager
def served(settings: ServeSettings, queue: Queue) -> Iterator[str]:
    """The page on a free port with a worker in a thread; gives its address."""
    stopped = threading.Event()
    worker = Worker(settings, "w")
    worker.parent = os.getppid()

    def work() -> None:
        while not stopped.is_set():
            if not worker.run_one():
                stopped.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with WebServer(settings, Store(settings.data), queue) as server:
            yield f"http://127.0.0.1:{server.port}"
    finally:
        stopped.set()
        thread.join()
        worker.queue.close()
