import numpy as np
import pytest
import torch

from lesionlab.core.learning import TrainingSettings
from lesionlab.train.augment import flips_rotation_crop, intensity_changes
from lesionlab.train.patches.nnunet import patch_geometry


def patch(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """An image that is its own label: 1 in a block off the centre."""
    image = torch.zeros((1, *shape))
    image[(0, *[slice(n // 5, n // 2) for n in shape])] = 1
    return {"image": image, "segmentation": image.to(torch.int16)}


def seeded(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002 (batchgeneratorsv2 draws from it)
    torch.manual_seed(seed)


@pytest.mark.parametrize(
    ("shape", "size", "in_plane"),
    [((30, 30), (20, 20), False), ((20, 24, 24), (14, 16, 16), False), ((6, 30, 30), (6, 20, 20), True)],
)
def test_image_and_labels_move_together_and_leave_at_the_size_of_the_patch(shape, size, in_plane):
    transform = flips_rotation_crop(size, range(len(size)), in_plane=in_plane)
    agreements = []
    for seed in range(20):
        seeded(seed)
        moved = transform(**patch(shape))
        assert moved["image"].shape == moved["segmentation"].shape == (1, *size)
        assert set(moved["segmentation"].unique().tolist()) <= {-1, 0, 1}
        labels, image = moved["segmentation"] == 1, moved["image"] > 0.5
        agreements.append(float((labels == image).float().mean()))
    assert min(agreements) > 0.97


def test_each_change_happens_to_about_half_of_the_patches():
    transform = flips_rotation_crop((16, 16), (0,), in_plane=False)
    still, flipped, sizes = 0, 0, []
    for seed in range(300):
        seeded(seed)
        given = patch((16, 16))
        moved = transform(**given)["image"]
        still += torch.equal(moved, given["image"])
        flipped += torch.equal(moved, given["image"].flip(1))
        sizes.append(float(moved.sum()))
    # not rotated and not cropped: a quarter, half of them flipped
    assert 15 < still < 65 and 15 < flipped < 65
    # a crop to 0.7 of the edges shows the block up to twice as large, and never smaller
    assert 1.5 < max(sizes) / 25 < 2.2
    assert min(sizes) / 25 > 0.8


def test_thick_slices_stay_where_they_are():
    transform = flips_rotation_crop((4, 16, 16), (1, 2), in_plane=True)
    given = patch((4, 22, 22))
    given["image"][:] = torch.arange(4.0)[None, :, None, None]
    for seed in range(10):
        seeded(seed)
        moved = transform(**given)["image"]
        middle = moved[0, :, 6:10, 6:10].mean((1, 2))
        np.testing.assert_allclose(middle, [0, 1, 2, 3], atol=1e-4)


@pytest.mark.parametrize(
    ("transposed", "size", "flips", "axes"),
    [
        ([0, 1, 2], (64, 64), ("x",), (1,)),
        ([0, 2, 1], (64, 64), ("x",), (0,)),
        ([2, 0, 1], (16, 64, 64), ("y", "x"), (0, 2)),
        ([0, 1, 2], (64, 64), ("z",), None),
        ([0, 1, 2], (64, 64), (), None),
        ([0, 1, 2], (64, 64), None, (0, 1)),
    ],
)
def test_only_the_named_axes_of_the_image_flip_however_the_plans_turn_it(transposed, size, flips, axes):
    planned = (None, False, size, tuple(range(len(size))))
    for augmentation in ("nnunet", "flips_rotation_crop", "flips_rotation_crop_intensity"):
        settings = TrainingSettings(flips=flips, augmentation=augmentation)
        assert patch_geometry(planned, settings, size, transposed)[-1] == axes
    still = TrainingSettings(flips=flips, augmentation="none")
    assert patch_geometry(planned, still, size, transposed)[-1] is None


def test_without_axes_nothing_is_mirrored():
    rows = torch.arange(8.0).reshape(1, 8, 1).expand(1, 8, 8)
    transform = flips_rotation_crop((8, 8), None, in_plane=False)
    for seed in range(20):
        seeded(seed)
        down = transform(image=rows.clone())["image"][0]
        across = transform(image=rows.mT.clone())["image"][0]
        assert down[:4].sum() < down[4:].sum()
        assert across[:, :4].sum() < across[:, 4:].sum()


def test_intensity_changes_leave_everything_where_it_is():
    transform = intensity_changes(in_plane=False)
    still, brightest = 0, []
    for seed in range(200):
        seeded(seed)
        given = patch((24, 24))
        moved = transform(image=given["image"].clone(), segmentation=given["segmentation"].clone())
        assert torch.equal(moved["segmentation"], given["segmentation"])
        assert torch.isfinite(moved["image"]).all()
        # the middle of the block stays brighter than the ground beside it
        assert moved["image"][0, 6:10, 6:10].min() > moved["image"][0, 16:, 16:].max()
        still += torch.equal(moved["image"], given["image"])
        brightest.append(float(moved["image"].max()))
    # a binary image shows blur, resolution and brightness; none of these three happens to (3/4)^3 = 42 %
    assert 50 < still < 110
    assert 0.6 < min(brightest) < 0.85
    assert 1.15 < max(brightest) < 1.3


def test_channels_change_by_themselves():
    transform = intensity_changes(in_plane=True)
    slices = torch.arange(6.0)[None, :, None, None].expand(2, 6, 12, 12)
    differ = 0
    for seed in range(40):
        seeded(seed)
        moved = transform(image=slices.clone())["image"]
        assert moved.shape == slices.shape
        differ += not torch.allclose(moved[0], moved[1], atol=1e-4)
    assert differ > 10


def test_resolution_falls_across_thick_slices_only_where_they_are_not_thick():
    slices = torch.arange(6.0)[None, :, None, None].expand(1, 6, 12, 12)
    kept = []
    for in_plane in (True, False):
        transform = intensity_changes(in_plane=in_plane)
        kept.append(0)
        for seed in range(120):
            seeded(seed)
            kept[-1] += torch.allclose(transform(image=slices.clone())["image"], slices, atol=1e-4)
    # each of them leaves slices of one value alone but blur, brightness, gamma and, across slices, resolution
    assert kept[0] > kept[1] > 0
