import numpy as np

from lesionlab.train.located import AroundLocated


class Cases:
    """Stands for nnU-Net's data set: one case with a lesion, one without."""

    def __init__(self):
        self.identifiers = ["ill", "well"]

    def load_case(self, identifier):
        lesion = np.array([[0, 10, 10, 10], [0, 10, 10, 11]])
        places = {1: lesion if identifier == "ill" else np.zeros((0, 4), int), (-1, 0): lesion[:1]}
        return np.zeros((1, 40, 40, 40)), np.zeros((1, 40, 40, 40)), None, {"class_locations": places, "x": 1}


def wrong(identifier):
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[30:32, 30, 30] = 1
    mask[0, 39, 5] = 1
    return mask


def drawn(data, identifier, count=200):
    """The sets of places that a case gave: 'lesion', or the number of entries that were found wrongly."""
    np.random.seed(0)  # noqa: NPY002
    return [data.load_case(identifier)[3]["class_locations"] for _ in range(count)]


def test_half_of_the_patches_lie_around_what_was_found_wrongly():
    data = AroundLocated(Cases(), wrong, (8, 8, 8))
    assert data.identifiers == ["ill", "well"]
    kinds = [len(places[1]) if 0 not in places else "wrong" for places in drawn(data, "ill")]
    assert 70 < kinds.count("wrong") < 130 and set(kinds) == {2, "wrong"}
    for places in drawn(data, "well", 5):
        assert [len(places[key]) for key in (0, 1)] == [2, 1]
        assert (-1, 0) in places


def test_places_are_shifted_by_up_to_a_quarter_of_the_patch_and_stay_inside():
    data = AroundLocated(Cases(), wrong, (8, 16, 4))
    steps = np.array([p[1][0] - [0, 10, 10, 10] for p in drawn(data, "ill") if 0 not in p])
    np.testing.assert_array_equal(np.abs(steps).max(axis=0), [0, 2, 4, 1])
    assert len(np.unique(steps, axis=0)) > 20
    edge = np.concatenate([p[1] for p in drawn(data, "well", 50)])
    assert edge.min() >= 0 and edge.max() <= 39


def test_without_a_lesion_and_without_an_error_no_place_is_forced():
    data = AroundLocated(Cases(), lambda name: np.zeros((40, 40, 40), np.uint8), (8, 8, 8))
    image, _, _, properties = data.load_case("well")
    assert properties["class_locations"][1].shape == (0, 4)
    assert (image.shape, properties["x"]) == ((1, 40, 40, 40), 1)
