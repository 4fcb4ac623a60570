"""A convolution of concatenated channels is computed in parts where that takes less memory."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet

from lesionlab.predict.backends import Wish, make_backends
from lesionlab.predict.openvino import _compiled, _convert, openvino
from lesionlab.predict.openvino_graph import in_parts, openvino_bytes

FEATURES, PATCH = (8, 16, 32), (16, 16, 24)


def u_net(features=FEATURES, classes=2):
    torch.manual_seed(0)
    return PlainConvUNet(
        2,
        len(features),
        list(features),
        torch.nn.Conv3d,
        3,
        [1, *[2] * (len(features) - 1)],
        1,
        classes,
        1,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()


class Joined(torch.nn.Module):
    """Convolves what `join` makes of an image and of features of half its size that were made of it."""

    def __init__(self, join, channels, out=4, groups=1):
        super().__init__()
        torch.manual_seed(1)
        self.join = join
        self.first = torch.nn.Conv3d(2, 8, 3, padding=1)
        self.down = torch.nn.Conv3d(8, 8, 2, stride=2)
        self.up = torch.nn.ConvTranspose3d(8, 8, 2, stride=2)
        self.last = torch.nn.Conv3d(channels, out, 3, padding=1, groups=groups)

    def forward(self, x):
        kept = self.first(x)
        return self.last(self.join(torch.relu(self.up(torch.relu(self.down(kept)))), kept, x))


def converted(network, patch=PATCH):
    return _convert(network, (1, 2, *patch))


def kinds(model):
    """How many operations of each kind have five axes."""
    names = [
        n.get_type_name()
        for n in model.get_ordered_ops()
        if n.get_type_name() != "Constant" and len(n.get_output_partial_shape(0)) == 5
    ]
    return {name: names.count(name) for name in names}


def answers(model, patch=PATCH, hint="f32"):
    tile = np.random.default_rng(0).normal(size=(1, 2, *patch)).astype(np.float32)
    return _compiled(model, hint).infer([tile])[0].copy()


@pytest.fixture(scope="module")
def model():
    """Of a U-Net; no test may change it."""
    return converted(u_net())


def test_the_largest_concatenation_goes_and_the_logits_stay(model):
    rewritten = in_parts(model, 0)
    # a map of the finest level has 8 channels; two concatenations in the network, of which the finer goes
    finest = 8 * 16 * 16 * 24 * 4
    assert kinds(model)["Concat"] == 2 and kinds(rewritten)["Concat"] == 1
    assert openvino_bytes(model) == 4 * finest
    # the skip as it is and convolved, while the coarser features wait: a quarter and a sixteenth of one
    assert openvino_bytes(rewritten) == 2.3125 * finest
    assert openvino_bytes(rewritten, 2) == openvino_bytes(rewritten) / 2
    expected = answers(model)
    np.testing.assert_allclose(answers(rewritten), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    np.testing.assert_array_equal(answers(rewritten), answers(in_parts(model, 0)))
    # the given model is as it was, and what is small is left as it is
    assert kinds(model)["Concat"] == 2
    assert in_parts(model) is model and in_parts(rewritten, 0) is rewritten


def test_openvino_adds_in_place_and_convolves_the_skip_before_it_goes_down(model):
    request = _compiled(in_parts(model, 0), "f32")
    runtime = request.get_compiled_model().get_runtime_model()
    steps = []
    for node in runtime.get_ordered_ops():
        facts = {key: node.get_rt_info()[key].astype(str) for key in ("execOrder", "layerType")}
        shape = node.get_output_shape(0) if node.outputs() else ()
        steps.append((int(facts["execOrder"]), facts["layerType"], tuple(shape)))
    full = [kind for _, kind, shape in sorted(steps) if tuple(shape) == (1, 8, *PATCH)]
    # nothing is concatenated or added by itself; the skip's part comes before all that is upsampled
    assert full == ["Convolution", "MVN", "Convolution", "Deconvolution", "Convolution", "MVN"]


@pytest.mark.parametrize(
    ("join", "channels"),
    [
        (lambda up, kept, x: torch.cat((up, kept), 1), 16),
        (lambda up, kept, x: torch.cat((kept, up), 1), 16),
        (lambda up, kept, x: torch.cat((kept, x, up, kept), -4), 26),
    ],
)
def test_parts_in_any_order_and_number(join, channels):
    model = converted(Joined(join, channels).eval())
    rewritten = in_parts(model, 0)
    assert "Concat" not in kinds(rewritten) and openvino_bytes(rewritten) < openvino_bytes(model)
    np.testing.assert_allclose(answers(rewritten), answers(model), atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        # along another axis than that of the channels
        Joined(lambda up, kept, x: torch.cat((up, kept), 2), 8),
        # convolved in groups
        Joined(lambda up, kept, x: torch.cat((up, kept), 1), 16, groups=2),
        # read twice
        Joined(lambda up, kept, x: torch.relu(both := torch.cat((up, kept), 1)) + both.exp(), 16),
        # more comes of it than goes in, so parts would take more
        Joined(lambda up, kept, x: torch.cat((up, kept), 1), 16, out=64),
    ],
)
def test_what_gains_nothing_is_left_as_it_is(network):
    model = converted(network.eval())
    assert in_parts(model, 0) is model


def test_weights_that_are_computed_are_left_as_they_are():
    class Computed(torch.nn.Module):
        def forward(self, x):
            weights = x.mean() * torch.ones((1, 4, 1, 1, 1))
            return torch.nn.functional.conv3d(torch.cat((x, x + 1), 1), weights)

    model = converted(Computed())
    assert in_parts(model, 0) is model


def test_parts_without_a_smaller_activation_to_wait():
    class Flat(torch.nn.Module):
        """Never smaller than the scan, so that nothing is made to wait."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.first, self.second = torch.nn.Conv3d(2, 8, 1), torch.nn.Conv3d(8, 8, 1)
            self.last = torch.nn.Conv3d(16, 2, 1)

        def forward(self, x):
            kept = self.first(x)
            return self.last(torch.cat((self.second(kept), kept), 1))

    model = converted(Flat().eval())
    rewritten = in_parts(model, 0)
    assert set(kinds(rewritten)) == {"Parameter", "Convolution", "Add", "Result", "Reshape"}
    np.testing.assert_allclose(answers(rewritten), answers(model), atol=1e-5)


def test_in_fp32_a_kept_network_is_rewritten_each_time_and_in_bf16_never(tmp_path, monkeypatch):
    rewritten = []

    def at_once(model):
        rewritten.append(in_parts(model, 0))
        return rewritten[-1]

    monkeypatch.setattr("lesionlab.predict.openvino.in_parts", at_once)
    # which would leave nothing to rewrite
    monkeypatch.setattr("lesionlab.predict.openvino.folded", lambda model: model)
    wish = partial(Wish, "openvino", device="cpu", channels=2, classes=2, patch=PATCH, flat=False)
    made, notes = make_backends([u_net], ["w"], wish(precision="fp32", caches=(tmp_path,)))
    kept, _ = make_backends([lambda: pytest.fail("again")], ["w"], wish(precision="fp32", caches=(tmp_path,)))
    assert not notes and [kinds(one)["Concat"] for one in rewritten] == [1, 1]
    assert made[0].work == 0 and kept[0].work == openvino_bytes(rewritten[1])
    tile = np.random.default_rng(3).normal(size=(1, 2, *PATCH)).astype(np.float32)
    np.testing.assert_array_equal(made[0].run(tile), kept[0].run(tile))
    with torch.inference_mode():
        np.testing.assert_allclose(kept[0].run(tile), u_net()(torch.from_numpy(tile)), atol=1e-4)
    # the file is that of the network as it is, for every precision
    (file,) = tmp_path.glob("*/network.xml")
    assert kinds(openvino.Core().read_model(file))["Concat"] == 2
    make_backends([lambda: pytest.fail("again")], ["w"], wish(precision="bf16", caches=(tmp_path,)))
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert len(rewritten) == 2


MEASURE = """
import sys
import numpy as np
from pathlib import Path
from lesionlab.predict.openvino import _compiled, openvino
from lesionlab.predict.openvino_graph import in_parts, openvino_bytes

def held(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

for rewritten in (True, False):
    model = openvino.Core().read_model(sys.argv[1])
    model = in_parts(model, 0) if rewritten else model
    request = _compiled(model, "f32")
    tile = np.zeros(tuple(model.inputs[0].get_shape()), np.float32)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    request.infer([tile], share_inputs=True, share_outputs=True)
    print(openvino_bytes(model), held("VmHWM") - before)
    del model, request
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_what_is_counted_is_what_openvino_takes(tmp_path):
    file = tmp_path / "network.xml"
    openvino.save_model(converted(u_net(), (64, 96, 96)), file, compress_to_fp16=False)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file)],
        env={"OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    parts, whole = ([int(number) for number in line.split()] for line in done.stdout.splitlines())
    for counted, taken in (parts, whole):
        # the answer lies in memory of its own, and OpenVINO's code for the processor is a few MB
        assert counted * 0.95 < taken < counted * 1.1 + 12e6, (parts, whole)
    assert parts[1] < 0.7 * whole[1]
