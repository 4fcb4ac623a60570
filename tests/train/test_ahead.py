from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lesionlab.train.ahead import ahead
from lesionlab.train.nnunet import seed_all


def draws(record: list[str]) -> Iterator[float]:
    """An endless loader that draws from numpy and torch, and notes in which thread it does."""
    while True:
        record.append(threading.current_thread().name)
        yield float(np.random.random() + torch.rand(()))  # noqa: NPY002


def test_batches_come_in_the_order_of_the_loader_and_none_is_drawn_beyond() -> None:
    seed_all(3)
    expected = [next(draws([])) for _ in range(7)]
    seed_all(3)
    threads: list[str] = []
    loader = draws(threads)
    assert list(ahead(loader, 5)) == expected[:5]
    assert len(threads) == 5
    assert list(ahead(loader, 2)) == expected[5:]
    assert sum(name.startswith("next-batch") for name in threads) == 5
    assert list(ahead(loader, 0)) == []


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_network_that_draws_gets_the_numbers_that_it_would_get_without(share: float) -> None:
    network, one = torch.nn.Dropout(share), torch.ones(50)
    seed_all(5)
    loader = draws([])
    expected = [(next(loader), network(one).sum()) for _ in range(4)]
    seed_all(5)
    threads: list[str] = []
    assert [(batch, network(one).sum()) for batch in ahead(draws(threads), 4)] == expected
    assert any(name.startswith("next-batch") for name in threads) == (share == 0.0)


def test_an_error_of_the_loader_comes_where_its_batch_would_have() -> None:
    def failing() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("gone")

    batches = ahead(failing(), 5)
    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_closing_waits_for_the_batch_that_is_being_drawn() -> None:
    started, drawn = threading.Event(), []

    def slow() -> Iterator[int]:
        for number in range(9):
            if number == 2:
                started.set()
                threading.Event().wait(0.2)
            drawn.append(number)
            yield number

    batches = ahead(slow(), 9)
    next(batches)
    next(batches)
    assert started.wait(5.0)
    batches.close()
    assert drawn == [0, 1, 2]
