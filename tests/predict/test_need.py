"""Memory is counted before a prediction starts; where it is short, slabs get smaller, or it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionlab.core.errors import MemoryNeedError
from lesionlab.predict import predict
from lesionlab.predict.backends import Wish, make_backends, work_of
from lesionlab.predict.live import torch_bytes
from lesionlab.predict.need import Extent, bytes_needed, slab_axis
from networks_phantom import sphere_case

LONG = Extent((100, 50, 50), (100, 50, 50), (32, 32, 32), 2, 1, 0)
"""Slabs are smallest across the longest axis."""
WIDE = replace(LONG, scan=(50, 50, 400), inner=(50, 50, 400))


def test_what_is_counted() -> None:
    scan, plane = 100 * 50 * 50, 50 * 50
    # one patch of sums, two pieces of 16 rows of weights, four blocks of 32 rows on their way out
    prepared, sums, leaving = 2 * 4 * scan, 4 * (32 + 2 * 16) * plane, 4 * 4 * 32 * plane
    assert bytes_needed(replace(LONG, work=10**9)) == prepared + 10**9 + sums + leaving + scan
    assert (
        bytes_needed(replace(LONG, work=10**9, probability=True))
        == bytes_needed(replace(LONG, work=10**9)) + 4 * scan
    )
    # without a network's activations the most is held while the scan is scaled
    assert bytes_needed(LONG) == prepared + 10 * scan
    # of channels that are prepared as far as the window has come, one patch and two blocks of rows are held
    streamed = replace(LONG, work=10**9, streamed=True)
    assert bytes_needed(replace(LONG, work=10**9)) - bytes_needed(streamed) == 2 * 4 * (100 - 32 - 64) * plane
    longer = replace(streamed, scan=(900, 50, 50), inner=(900, 50, 50))
    assert bytes_needed(longer) - bytes_needed(streamed) == 800 * plane  # the mask alone
    assert bytes_needed(streamed, 2) == bytes_needed(replace(LONG, work=10**9), 2)
    # patches larger than the scan are filled up with zeros
    small = replace(LONG, scan=(8, 8, 8), inner=(8, 8, 8), work=10**9)
    assert bytes_needed(small) > bytes_needed(replace(small, patch=(8, 8, 8)))


def test_short_memory_takes_the_axis_with_the_smallest_slabs_then_refuses() -> None:
    extent = replace(WIDE, work=10**9)
    first, best = bytes_needed(extent), bytes_needed(extent, 2)
    assert best < first
    assert slab_axis("c", extent, None) == slab_axis("c", extent, first) == 0
    assert slab_axis("c", extent, first - 1) == slab_axis("c", extent, best) == 2
    with pytest.raises(MemoryNeedError) as error:
        slab_axis("patient 7", extent, best - 1)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(
        "patient 7: found 1.0 GB of free memory; needed 1.0 GB for a scan of 50"
    )
    with pytest.raises(MemoryNeedError):
        slab_axis("c", extent, first - 1, (0,))


def test_activations_are_counted_without_running_anything() -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 1), torch.nn.ReLU(), torch.nn.Conv3d(8, 2, 1))
    voxels = 16**3
    counted = torch_bytes(network, (1, 1, 16, 16, 16))
    # two maps of eight channels live at once, the input with them or not
    assert 16 * 4 * voxels - 1 <= counted / 1.6 <= 18 * 4 * voxels
    assert torch_bytes(network, (1, 1, 16, 16, 16), 2) == counted // 2

    class Looks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    assert torch_bytes(Looks(), (1, 1, 4, 4, 4)) == 0


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_backends_tell_until_they_have_run(backend, tmp_path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Conv3d(8, 2, 1))
    wish = Wish(backend, "fp32", "cpu", 1, 2, (16, 16, 16), False, (tmp_path,))
    make_backends([lambda: network.eval()], ["w"], wish)  # the second time it is kept and has not run yet
    backends, _ = make_backends([lambda: network.eval()] * 2, ["w", "w"], wish)
    alone = backends[0].work
    assert 10 * 4 * 16**3 <= alone <= 20 * 4 * 16**3
    # OpenVINO keeps the activations of each fold, torch gives them back
    assert work_of(backends) == (alone if not backends[0].keeps else 2 * alone)
    for one in backends:
        one.run(np.zeros((1, 1, 16, 16, 16), np.float32))
    assert work_of(backends) == 0


@pytest.mark.parametrize("shape", [(24, 28, 60), (13, 28, 60)])
def test_smaller_slabs_give_the_same_mask(tiny_bundle, monkeypatch, shape) -> None:
    case = sphere_case(40, shape=shape)
    expected = predict(case, tiny_bundle, device="cpu", probability=True)
    asked = []

    def least(subject: str, extent: Extent, available: int | None, axes: tuple[int, ...] = (0, 1, 2)) -> int:
        asked.append((subject, axes))
        return 2

    monkeypatch.setattr("lesionlab.predict.nnunet.slab_axis", least)
    found = predict(case, tiny_bundle, device="cpu", probability=True)
    assert asked == [(case.id, (0, 1, 2))]
    np.testing.assert_allclose(found.probability.array, expected.probability.array, atol=1e-5)
    assert np.count_nonzero(found.mask.array != expected.mask.array) <= 1
    assert "memory was short, so slabs lay across axis 2 of the network's space" in found.notes
    assert not any("memory" in note for note in expected.notes)


def test_a_case_that_does_not_fit_is_refused_before_anything_is_done(tiny_bundle, monkeypatch) -> None:
    monkeypatch.setattr("lesionlab.predict.nnunet.available_memory", lambda: 1000)
    monkeypatch.setattr("lesionlab.predict.nnunet.slide", lambda *a, **k: pytest.fail("it was started"))
    with pytest.raises(MemoryNeedError, match=r"sphere_40: found 0\.0 GB of free memory; needed 0\.\d GB"):
        predict(sphere_case(40), tiny_bundle, device="cpu")
