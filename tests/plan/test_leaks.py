"""Cases that look the same: found however they were copied, and never split before someone said how."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lesionlab.core.errors import DatasetError
from lesionlab.demo.cohort import draw_patient
from lesionlab.plan.leaks import SAME, Seen, find_twins, joined_names, look, settle


def scan(number: int, shape: tuple[int, int] = (300, 260)) -> np.ndarray:
    """A smooth made-up ultrasound image."""
    random = np.random.default_rng(number)
    small = random.gamma(1.5, 40.0, (shape[0] // 8, shape[1] // 8)).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))


def distance(first: np.ndarray, second: np.ndarray) -> float:
    a, b = look(first[None]).astype(float), look(second[None]).astype(float)
    return float(0.5 - a @ b / (2 * a.size))


def seen(
    name: str, patient: str, image: np.ndarray, labels: tuple[int, ...] = (1,), diagnosis: str = ""
) -> Seen:
    return Seen(name, patient, frozenset(labels), diagnosis, look(image))


def copies(image: np.ndarray) -> dict[str, np.ndarray]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    small = Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2))
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return {
        "resized": np.asarray(small),
        "stretched": np.asarray(Image.fromarray(image).resize((400, 200))),
        "brighter": np.clip(image * 1.2 + 15, 0, 255),
        "gamma": 255 * (image / 255) ** 0.8,
        "compressed": np.asarray(Image.open(buffer)),
        "noisy": image + noise,
        "cut": image[3:-3, 3:-3],
    }


@pytest.mark.parametrize("how", list(copies(scan(0))))
def test_a_copy_is_near_and_another_image_far(how):
    image = scan(1)
    assert distance(image, copies(image)[how]) < SAME
    assert distance(image, copies(scan(2))[how]) > 2 * SAME


def test_volumes_are_looked_at_from_three_sides():
    volume = np.random.default_rng(3).gamma(1.0, 2.0, (20, 24, 28))
    assert look(volume).size == 6 * look(volume[:1]).size
    coarse = volume.repeat(2, axis=1)
    found = find_twins(
        [seen("a", "p", volume), seen("b", "q", coarse * 3.0 + 1.0), seen("c", "r", volume[::-1])]
    )
    assert [(twin.first, twin.second) for twin in found] == [("a", "b")]


def test_bodies_of_one_build_are_not_taken_for_copies():
    torsos = [draw_patient(1, number).suv.array for number in (1, 2, 3)]
    everyone = [seen(str(number), str(number), torso) for number, torso in enumerate(torsos)]
    assert find_twins(everyone) == []
    (twin,) = find_twins([*everyone, seen("copy", "x", torsos[2] * 1.2 + 0.1)])
    assert (twin.first, twin.second) == ("2", "copy")


def test_blank_images_resemble_nothing():
    assert find_twins([seen("a", "p", np.ones((1, 9, 9))), seen("b", "q", np.ones((1, 9, 9)))]) == []


def leaky() -> list[Seen]:
    one, two, three = (scan(n)[None] for n in (1, 2, 3))
    return [
        seen("a", "p1", one, diagnosis="benign"),
        seen("b", "p2", one * 0.9, diagnosis="benign"),
        seen("c", "p3", two, diagnosis="benign"),
        seen("d", "p3", two, diagnosis="benign"),
        seen("e", "p4", three),
    ]


def test_what_is_found_and_what_is_a_leak():
    twins = find_twins(leaky())
    assert [(t.first, t.second, t.same_patient, t.contradict, t.leak) for t in twins] == [
        ("a", "b", False, False, True),
        ("c", "d", True, False, False),
    ]


def test_a_leak_is_refused_until_told_how():
    cases = leaky()
    twins = find_twins(cases)
    with pytest.raises(DatasetError) as caught:
        settle(cases, twins, "refuse", "data")
    assert str(caught.value) == (
        "data: found 1 pair of cases that look the same: a = b (two patients); needed training.duplicates "
        "(or --duplicates) 'drop' or 'group' to say what to do"
    )
    assert settle(cases, twins, "drop", "data").dropped == ("b",)
    grouped = settle(cases, twins, "group", "data")
    assert not grouped.dropped
    assert grouped.patients == {"a": "p1", "b": "p1", "c": "p3", "d": "p3", "e": "p4"}


def test_copies_of_one_patient_are_no_leak():
    cases = leaky()[2:]
    settled = settle(cases, find_twins(cases), "refuse", "data")
    assert settled.dropped == () and settled.patients == {"c": "p3", "d": "p3", "e": "p4"}


def test_one_image_under_two_labels_is_dropped_altogether_and_cannot_be_grouped():
    image = scan(4)[None]
    cases = [*leaky()[4:], seen("x", "p8", image, (1,), "benign"), seen("y", "p9", image, (1,), "malignant")]
    twins = find_twins(cases)
    assert [twin.contradict for twin in twins] == [True]
    with pytest.raises(
        DatasetError, match=r"x = y \(two labels\); needed training.duplicates 'drop', or other"
    ):
        settle(cases, twins, "group", "data")
    assert settle(cases, twins, "drop", "data").dropped == ("x", "y")


def test_many_pairs_are_counted_and_some_named():
    image = scan(5)[None]
    cases = [seen(f"c{n}", f"p{n}", image) for n in range(5)]
    with pytest.raises(DatasetError, match=r"10 pairs .*c0 = c4 \(two patients\) and 6 more"):
        settle(cases, find_twins(cases), "refuse", "data")
    assert settle(cases, find_twins(cases), "drop", "data").dropped == ("c1", "c2", "c3", "c4")


def test_names_that_hang_together():
    assert joined_names([("b", "c"), ("x", "y"), ("c", "a")]) == {
        "a": "a",
        "b": "a",
        "c": "a",
        "x": "x",
        "y": "x",
    }
