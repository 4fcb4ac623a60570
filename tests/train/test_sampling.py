from types import SimpleNamespace

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.learning import TrainingSettings
from lesionlab.train.sampling import EvenLesions, case_shares, lesion_locations, training_cases

LESION = {"a": True, "b": False, "c": True, "d": False, "e": False}


def labelled() -> np.ndarray:
    """One class-1 lesion of 512 voxels, one of 1 voxel, one class-2 lesion of 8; -1 is outside the image."""
    labels = np.zeros((12, 20, 20), np.int8)
    labels[1:9, 1:9, 1:9] = 1
    labels[10, 15, 15] = 1
    labels[4:6, 12:14, 12:14] = 2
    labels[:, :, 19] = -1
    return labels


class CasesInMemory:
    """What nnU-Net's data set is to its loader, with everything in memory."""

    def __init__(self, cases: dict[str, np.ndarray]) -> None:
        self.cases, self.identifiers = cases, sorted(cases)

    def load_case(self, identifier: str) -> tuple[np.ndarray, np.ndarray, None, dict[str, object]]:
        labels = self.cases[identifier][None]
        every = {c: np.argwhere(labels == c) for c in (1, 2)}
        annotated = {(-1, 0, 1, 2): np.argwhere(labels >= -1)}
        return (labels + 10).astype(np.float32), labels, None, {"class_locations": {**every, **annotated}}


def test_lesion_free_cases_are_kept_or_left_out():
    names = ["a", "b", "c", "gone"]
    assert training_cases(names, LESION, TrainingSettings(), "fold 0") == ["a", "b", "c"]
    without = TrainingSettings(lesion_free="exclude")
    assert training_cases(names, LESION, without, "fold 0") == ["a", "c"]
    with pytest.raises(DatasetError, match="fold 0: found no lesion in its 2 training cases; needed"):
        training_cases(["b", "d"], LESION, TrainingSettings(), "fold 0")


def test_lesion_free_cases_get_their_share_of_the_patches():
    names = list(LESION)
    assert case_shares(names, LESION, None, "tiny") is None
    shares = case_shares(names, LESION, 0.2, "tiny")
    np.testing.assert_allclose(shares, [0.4, 0.2 / 3, 0.4, 0.2 / 3, 0.2 / 3])
    assert case_shares(names, LESION, 0.0, "tiny")[1] == 0
    assert (
        case_shares(["a", "c"], LESION, 0.0, "tiny") is None and case_shares(["b"], LESION, 1.0, "t") is None
    )
    with pytest.raises(
        DatasetError, match="tiny: found 0 of 2 training cases lesion-free, for lesion_free_sha"
    ):
        case_shares(["a", "c"], LESION, 0.2, "tiny")
    with pytest.raises(
        DatasetError, match=r"found 2 of 2 training cases lesion-free.* = 0\.5; needed cases of b"
    ):
        case_shares(["b", "d"], LESION, 0.5, "tiny")


def test_every_lesion_is_found_with_voxels_all_through_it():
    labels = labelled()
    found = lesion_locations(labels, [1, 2], most=100)
    assert {c: sorted(map(len, lesions)) for c, lesions in found.items()} == {1: [1, 100], 2: [8]}
    large = max(found[1], key=len)
    assert all(labels[tuple(v[1:])] == 1 and v[0] == 0 for v in large)
    assert large[:, 1].min() == 1 and large[:, 1].max() == 8
    assert lesion_locations(labels, [2]).keys() == {2}
    assert lesion_locations(np.zeros((3, 3, 3), np.int8), [1]) == {}


def test_forced_patches_fall_on_lesions_evenly_and_on_voxels_without_it():
    """A lesion of one voxel beside one of 512: drawn half the time among its class's, else once in 513."""
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    labels = labelled()
    labels[labels == 2] = 0
    manager = SimpleNamespace(all_labels=[0, 1, 2], has_ignore_label=False)
    np.random.seed(0)  # noqa: NPY002 (nnU-Net's loader draws from it)
    shares = {}
    for even in (False, True):
        data = CasesInMemory({"a": labels})
        loader = nnUNetDataLoader(
            EvenLesions(data, [1]) if even else data,
            40,
            (1, 1, 1),
            (1, 1, 1),
            manager,
            oversample_foreground_percent=1.0,
        )
        drawn = [next(loader) for _ in range(10)]
        assert all((batch["target"] == 1).all() for batch in drawn)
        # a patch of one voxel at (10, 15, 15) can be told by where it is alone
        spots = [
            loader.get_bbox((12, 20, 20), True, loader._data.load_case("a")[3]["class_locations"])[0]
            for _ in range(400)
        ]
        shares[even] = np.mean([spot == [10, 15, 15] for spot in spots])
    assert shares[False] < 0.05
    assert 0.4 < shares[True] < 0.6


def test_classes_are_drawn_evenly_before_lesions_and_searched_for_once(monkeypatch):
    data = CasesInMemory({"a": labelled(), "b": np.zeros((12, 20, 20), np.int8)})
    even = EvenLesions(data, [1, 2])
    np.random.seed(1)  # noqa: NPY002
    classes = []
    for _ in range(300):
        places = even.load_case("a")[3]["class_locations"]
        assert (-1, 0, 1, 2) in places
        lesions = [v for k, v in places.items() if not isinstance(k, tuple)]
        classes.append(len(lesions))
    assert 110 < classes.count(1) < 190  # class 2 has one lesion, class 1 two
    assert even.identifiers == ["a", "b"]
    assert set(even.load_case("b")[3]["class_locations"]) == {1, 2, (-1, 0, 1, 2)}
    monkeypatch.setattr("lesionlab.train.sampling.lesion_locations", None)
    assert even.load_case("a")[0] is not None
