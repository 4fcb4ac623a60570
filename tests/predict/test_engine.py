import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy.ndimage import gaussian_filter

from lesionlab.core.errors import BundleError
from lesionlab.predict.backends import Wish, make_backends
from lesionlab.predict.engine import OUTSIDE_LOGIT, Window, laid_over, slide, tile_starts, tile_weights
from lesionlab.predict.torch_backend import TorchBackend

CPU = torch.device("cpu")


def network(seed, *, channels=2, classes=2, flat=False):
    """A small U-Net with random weights, as nnU-Net's plans describe them."""
    torch.manual_seed(seed)
    kind = "2d" if flat else "3d"
    return PlainConvUNet(
        channels,
        2,
        [4, 8],
        torch.nn.Conv2d if flat else torch.nn.Conv3d,
        3,
        [1, 2],
        1,
        classes,
        1,
        conv_bias=True,
        norm_op={"2d": torch.nn.InstanceNorm2d, "3d": torch.nn.InstanceNorm3d}[kind],
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()


def wish_of(patch, *, classes=2, backend="torch", precision="fp32", caches=()):
    return Wish(backend, precision, "cpu", 2, classes, patch, patch[0] == 1, tuple(caches))


def backends_of(networks, wish, names=None):
    names = names or [f"weights {number}" for number in range(len(networks))]
    return make_backends([lambda n=n: n for n in networks], names, wish)


def whole(slabs):
    """All rows of all slabs, which must follow one another."""
    slabs, row = list(slabs), 0
    for slab in slabs:
        assert slab.start == row and slab.logits.dtype == np.float32
        row += slab.logits.shape[1]
    return np.concatenate([slab.logits for slab in slabs], axis=1)


def stock(data, networks, window, classes):
    """The logits of nnU-Net's own predictor."""
    flat = window.patch[0] == 1
    axes = [axis - flat for axis in window.flips]
    predictor = nnUNetPredictor(window.step, True, bool(axes), False, CPU, allow_tqdm=False)
    predictor.configuration_manager = SimpleNamespace(patch_size=list(window.patch[flat:]))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=classes)
    predictor.allowed_mirroring_axes = axes
    predictor.network = networks[0]
    predictor.list_of_parameters = [
        {key: value.clone() for key, value in n.state_dict().items()} for n in networks
    ]
    before = predictor.list_of_parameters[0]
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).float().numpy()
    networks[0].load_state_dict(before)
    return logits


# torch takes a hundred times longer for patches of 16 x 16 x 16 with this few features than for these
CASES = {
    "3D, odd sizes": ((13, 9, 17), (8, 8, 16), (), 1, 2),
    "3D, flips": ((8, 9, 16), (8, 8, 16), (0, 1, 2), 1, 2),
    "3D, smaller than the patch": ((5, 12, 9), (8, 8, 16), (2,), 1, 2),
    "3D, two folds, three classes": ((9, 8, 22), (8, 8, 16), (), 2, 3),
    "2D": ((2, 33, 16), (1, 16, 16), (), 1, 2),
    "2D, flips, folds, smaller": ((2, 13, 17), (1, 16, 16), (1, 2), 2, 2),
}


@pytest.mark.parametrize(("shape", "patch", "flips", "folds", "classes"), CASES.values(), ids=CASES)
def test_logits_are_those_of_the_stock_predictor(shape, patch, flips, folds, classes, monkeypatch):
    # nnU-Net sums in half precision, which hides what is to be compared
    monkeypatch.setattr(torch, "half", torch.float32)
    data = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    networks = [network(seed, classes=classes, flat=patch[0] == 1) for seed in range(folds)]
    window = Window(patch, 0.5, flips)
    expected = stock(data, networks, window, classes)
    ours, notes = backends_of(networks, wish_of(patch, classes=classes))
    found = whole(slide(data, ours, window, subject="case"))
    reference = expected[1:] - expected[:1] if classes == 2 else expected
    assert not notes and found.shape == reference.shape and np.ptp(reference) > 0.1
    np.testing.assert_allclose(found, reference, atol=1e-4)
    decided = found[0] > 0 if classes == 2 else found.argmax(0)
    np.testing.assert_array_equal(decided, expected.argmax(0))


@pytest.mark.parametrize("flat", [False, True])
def test_openvino_gives_the_logits_of_torch_and_keeps_its_conversion(flat, tmp_path):
    patch = (1, 16, 24) if flat else (8, 8, 16)
    data = np.random.default_rng(1).normal(size=(2, 3, 11, 21)).astype(np.float32)
    window, networks = Window(patch, 0.5, (1,)), [network(3, flat=flat), network(4, flat=flat)]
    torch_backends, _ = backends_of(networks, wish_of(patch))
    expected = whole(slide(data, torch_backends, window, subject="case"))
    closed = tmp_path / "file"
    closed.write_text("a cache folder cannot be made here")
    wish = wish_of(patch, backend="openvino", caches=(closed / "converted", tmp_path / "user"))
    fresh, notes = backends_of(networks, wish)
    assert not notes and [b.name for b in fresh] == ["openvino on cpu in fp32"] * 2
    found = whole(slide(data, fresh, window, subject="case"))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(found > 0, expected > 0)
    assert len(list((tmp_path / "user").glob("*/network.xml"))) == 2
    # the second time nothing is built, and the answer is the same to the bit
    kept, _ = make_backends([lambda: pytest.fail("converted again")] * 2, ["weights 0", "weights 1"], wish)
    np.testing.assert_array_equal(whole(slide(data, kept, window, subject="case")), found)


def test_a_conversion_by_other_code_is_made_anew(tmp_path, monkeypatch):
    from lesionlab.predict import openvino as ours

    wish = wish_of((8, 8, 8), backend="openvino", caches=(tmp_path,))
    backends_of([network(3)], wish)
    monkeypatch.setattr(ours, "PACKAGES", (*ours.PACKAGES, "numpy"))
    ours._made_by.cache_clear()
    backends_of([network(3)], wish)
    ours._made_by.cache_clear()
    assert len(list(tmp_path.glob("*/network.xml"))) == 2


@pytest.mark.parametrize("damage", ["words", "weights", "none"])
def test_a_kept_conversion_that_is_damaged_is_made_anew(damage, tmp_path):
    """As a power cut leaves it, or a second process that puts its own in its place meanwhile."""
    wish = wish_of((8, 8, 8), backend="openvino", caches=(tmp_path,))
    sample = np.random.default_rng(2).normal(size=(1, 2, 8, 8, 8)).astype(np.float32)
    expected = backends_of([network(3)], wish)[0][0].run(sample).copy()
    words = next(tmp_path.glob("*/network.xml"))
    if damage == "words":
        words.write_bytes(words.read_bytes()[:1000])
    elif damage == "weights":
        words.with_suffix(".bin").write_bytes(b"")
    else:
        words.with_suffix(".bin").unlink()
    again, notes = backends_of([network(3)], wish)
    kept, _ = make_backends([lambda: pytest.fail("converted again")], ["weights 0"], wish)
    for backend in (again[0], kept[0]):
        assert not notes and backend.name == "openvino on cpu in fp32"
        np.testing.assert_array_equal(backend.run(sample), expected)


def test_openvino_reports_to_nobody(tmp_path):
    backends_of([network(5)], wish_of((8, 8, 8), backend="openvino", caches=(tmp_path,)))
    from openvino.tools import ovc

    assert type(ovc.telemetry).__module__ == "openvino.tools.ovc.telemetry_stub"


class Fussy(torch.nn.Module):
    """A network that OpenVINO cannot reproduce: its answer depends on how often it was asked."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = network(6), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * self.calls


def test_a_network_that_does_not_convert_runs_in_torch_with_a_note(tmp_path):
    wish = wish_of((8, 8, 8), backend="auto", caches=(tmp_path,))
    backends, notes = backends_of([Fussy()], wish)
    assert isinstance(backends[0], TorchBackend) and len(notes) == 1
    assert notes[0].startswith("OpenVINO could not take this network (converted with a difference")
    assert not list(tmp_path.glob("*/network.xml"))


def test_bf16_is_close_to_fp32(tmp_path):
    data = np.random.default_rng(1).normal(size=(2, 12, 8, 16)).astype(np.float32)
    window, answers = Window((8, 8, 16)), {}
    for backend, precision in itertools.product(("torch", "openvino"), ("fp32", "bf16")):
        wish = wish_of(window.patch, backend=backend, precision=precision, caches=(tmp_path,))
        made, _ = backends_of([network(7)], wish)
        answers[backend, precision] = whole(slide(data, made, window, subject="case"))
        assert made[0].name.startswith(f"{backend} on cpu in ")
    exact = answers["torch", "fp32"]
    for backend in ("torch", "openvino"):
        assert np.abs(answers[backend, "bf16"] - exact).max() < 0.05 * np.abs(exact).max()
    assert np.abs(answers["torch", "bf16"] - exact).max() > 0


def test_slabs_hold_what_one_pass_over_the_whole_scan_gives():
    data = np.random.default_rng(2).normal(size=(2, 21, 8, 16)).astype(np.float32)
    window = Window((8, 8, 16), 0.15)
    backends, _ = backends_of([network(8)], wish_of(window.patch))
    weights = tile_weights(window.patch)
    sums, total = np.zeros(data.shape[1:]), np.zeros(data.shape[1:])
    starts = [tile_starts(n, p, 0.15) for n, p in zip(data.shape[1:], window.patch, strict=True)]
    for corner in itertools.product(*starts):
        box = tuple(slice(c, c + p) for c, p in zip(corner, window.patch, strict=True))
        logits = backends[0].run(data[(slice(None), *box)][None].copy())[0]
        sums[box] += (logits[1] - logits[0]) * weights
        total[box] += weights
    calls = []
    slabs = list(slide(data, backends, window, subject="c", done=lambda n, count: calls.append((n, count))))
    assert len(slabs) == len(starts[0]) > 10
    np.testing.assert_allclose(whole(slabs)[0], sums / total, atol=1e-5)
    count = len(list(itertools.product(*starts)))
    assert calls == [(n + 1, count) for n in range(count)]
    np.testing.assert_array_equal(whole(slide(data, backends, window, subject="c")), whole(slabs))


def test_tiles_lie_over_the_wanted_voxels_only_and_the_rest_becomes_background():
    data = np.random.default_rng(2).normal(size=(2, 8, 8, 48)).astype(np.float32)
    window = Window((8, 8, 16))
    backends, _ = backends_of([network(9)], wish_of(window.patch))
    wanted = np.zeros(data.shape[1:], dtype=bool)
    wanted[4, 4, 40] = True
    calls = []
    told = {"subject": "c", "done": lambda n, count: calls.append((n, count))}
    found = whole(slide(data, backends, window, wanted=wanted, **told))
    # one tile, as far as it can be around the voxel at 40: from 32 to the end of the scan
    assert calls == [(1, 1)]
    np.testing.assert_array_equal(found[..., :32], -OUTSIDE_LOGIT)
    logits = backends[0].run(data[None, ..., 32:])[0]
    np.testing.assert_allclose(found[0, ..., 32:], logits[1] - logits[0], rtol=1e-3)
    nothing = whole(slide(data, backends, window, subject="c", wanted=np.zeros_like(wanted)))
    assert nothing.shape == found.shape and (nothing == -OUTSIDE_LOGIT).all()


def test_where_everything_is_wanted_tiles_lie_where_they_always_do():
    window = Window((4, 6, 8), 0.4)
    for shape in ((4, 6, 8), (9, 17, 30), (21, 6, 11)):
        assert laid_over(shape, window, np.ones(shape, bool)) == laid_over(shape, window)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_every_wanted_voxel_lies_in_a_tile_as_close_to_its_middle_as_elsewhere(seed):
    drawn = np.random.default_rng(seed)
    shape, patch = drawn.integers(16, 60, 3), drawn.integers(1, 17, 3)
    wanted = np.zeros(shape, bool)
    for _ in range(drawn.integers(0, 4)):
        low = drawn.integers(0, shape)
        wanted[tuple(slice(a, a + n) for a, n in zip(low, drawn.integers(1, 30, 3), strict=True))] = True
    window = Window(tuple(int(n) for n in patch), float(drawn.choice([0.3, 0.5, 1.0])))
    found = laid_over(shape, window, wanted)
    covered = np.zeros(shape, bool)
    for z, corners in found:
        for y, x in corners:
            box = tuple(slice(a, a + n) for a, n in zip((z, y, x), patch, strict=True))
            assert wanted[box].any() and covered[box].shape == tuple(patch)
            covered[box] = True
    assert covered[wanted].all()
    for (row, corners), (usual, most) in zip(found, laid_over(shape, window), strict=True):
        assert row == usual and len(corners) <= len(most)


def test_tiles_over_a_narrow_body_are_few_and_keep_a_margin():
    wanted = np.zeros((64, 200, 200), bool)
    wanted[:, 80:120, 60:150] = True
    wanted[32:, 80:120, 110:150] = False
    found = laid_over(wanted.shape, Window((32, 64, 64)), wanted)
    # 40 voxels fit in one tile; 90 and margins of 4 need three, half a tile apart at most
    three = [(68, 56), (68, 73), (68, 90)]
    assert found == [(0, three), (16, three), (32, [(68, 53)])]


def test_logits_that_are_not_finite_name_the_case():
    data = np.full((2, 8, 8, 8), np.nan, dtype=np.float32)
    backends, _ = backends_of([network(9)], wish_of((8, 8, 8)))
    with pytest.raises(BundleError, match="patient 7: found network output that is not finite"):
        list(slide(data, backends, Window((8, 8, 8)), subject="patient 7"))


def test_openvino_for_another_device_is_refused():
    wish = Wish("openvino", "fp32", "cuda", 2, 2, (8, 8, 8), False)
    with pytest.raises(BundleError, match="found openvino on cuda; needed the device cpu"):
        backends_of([network(1)], wish)


def test_openvino_that_is_not_installed_is_refused_when_named_and_passed_over_by_auto(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BundleError, match="found no openvino; needed pip install"):
        backends_of([network(1)], wish_of((8, 8, 8), backend="openvino"))
    backends, notes = backends_of([network(1)], wish_of((8, 8, 8), backend="auto"))
    assert isinstance(backends[0], TorchBackend) and not notes


def test_no_network_is_a_mistake_of_the_caller():
    backends, _ = backends_of([network(1)], wish_of((8, 8, 8)))
    data = np.zeros((2, 8, 8, 8), dtype=np.float32)
    with pytest.raises(IndexError):
        list(slide(data, backends[:0], Window((8, 8, 8)), subject="c"))


def test_tile_starts_are_spread_evenly():
    # nnU-Net's own example: 110 voxels, a patch of 64 and half of it as a step
    assert tile_starts(110, 64, 0.5) == [0, 23, 46]
    assert tile_starts(64, 64, 0.5) == [0]
    assert tile_starts(5, 1, 0.5) == [0, 1, 2, 3, 4]


def test_every_slice_of_a_2d_model_is_run_once():
    data = np.random.default_rng(2).normal(size=(2, 5, 16, 16)).astype(np.float32)
    backends, _ = backends_of([network(9, flat=True)], wish_of((1, 16, 16)))
    calls = []
    whole(slide(data, backends, Window((1, 16, 16)), subject="c", done=lambda n, count: calls.append(n)))
    assert calls == [1, 2, 3, 4, 5]


def test_rows_leave_in_pieces_and_tiles_may_start_at_the_same_row():
    data = np.random.default_rng(2).normal(size=(2, 43, 8, 16)).astype(np.float32)
    backends, _ = backends_of([network(9)], wish_of((40, 8, 16)))
    slabs = list(slide(data, backends, Window((40, 8, 16), 0.02), subject="c"))
    assert [slab.start for slab in slabs] == [0, 1, 2, 3, 19, 35]
    weights = tile_weights((40, 8, 16))
    sums, total = np.zeros(data.shape[1:]), np.zeros(data.shape[1:])
    for start in tile_starts(43, 40, 0.02):
        tile = data[None, :, start : start + 40].copy()
        logits = backends[0].run(tile)[0]
        sums[start : start + 40] += (logits[1] - logits[0]) * weights
        total[start : start + 40] += weights
    np.testing.assert_allclose(whole(slabs)[0], sums / total, atol=1e-5)


@pytest.mark.parametrize("patch", [(40, 72, 40), (1, 33, 7), (5, 9, 1), (2, 3, 111), (1, 1, 5)])
def test_the_weights_are_the_filtered_voxel_of_nnunet_to_the_bit(patch: tuple[int, int, int]) -> None:
    deep = patch if patch[0] > 1 else patch[1:]
    voxel = np.zeros(deep)
    voxel[tuple(n // 2 for n in deep)] = 1.0
    wanted = gaussian_filter(voxel, [n / 8 for n in deep], mode="constant", cval=0)
    half = (wanted * (10.0 / wanted.max())).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    np.testing.assert_array_equal(tile_weights(patch), half.reshape(patch).astype(np.float32))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_scan_gives_the_same_bits_and_other_threads_round_elsewhere_at_most(
    backend, precision, tmp_path
):
    data = np.random.default_rng(1).normal(size=(2, 12, 8, 16)).astype(np.float32)
    answers, before = {}, torch.get_num_threads()
    try:
        for threads, repeat in itertools.product((1, 2), range(2)):
            torch.set_num_threads(threads)
            wish = wish_of((8, 8, 16), backend=backend, precision=precision, caches=(tmp_path,))
            made, _ = backends_of([network(7)], wish)
            answers[threads, repeat] = whole(slide(data, made, Window((8, 8, 16)), subject="c"))
            np.testing.assert_array_equal(
                whole(slide(data, made, Window((8, 8, 16)), subject="c")), answers[threads, repeat]
            )
    finally:
        torch.set_num_threads(before)
    for threads in (1, 2):
        np.testing.assert_array_equal(answers[threads, 1], answers[threads, 0])
    # OpenVINO sums over a tile in as many parts as there are threads
    np.testing.assert_allclose(answers[2, 0], answers[1, 0], atol=1e-5 if precision == "fp32" else 0.02)
    assert np.count_nonzero((answers[2, 0] > 0) != (answers[1, 0] > 0)) <= (0 if precision == "fp32" else 9)
