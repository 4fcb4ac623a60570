"""Preparing the next batch while the current one is trained on, with the same numbers as one after the other.

What a batch holds is the loader's business.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")


def ahead(batches: Iterator[T], count: int) -> Generator[T, None, None]:
    """The next `count` of `batches`, each drawn in a thread while its predecessor is in use.

    `batches` must hold so many; none beyond is drawn. The loader draws from the process's random generators,
    so where using the first batch drew from them too (dropout on the CPU), the others are drawn one at a time
    as they are asked for, and the sequence of random numbers is the same either way. An error of the loader
    is raised where its batch would have come; close the iterator when leaving early: it waits for the thread.
    """
    if count <= 0:
        return
    first = next(batches)
    before = _generators()
    yield first
    if _generators() != before:
        for _ in range(count - 1):
            yield next(batches)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="next-batch") as thread:
        coming = [thread.submit(next, batches)] if count > 1 else []
        for left in range(count - 2, -1, -1):
            batch = coming.pop().result()
            if left:
                coming.append(thread.submit(next, batches))
            yield batch


def _generators() -> bytes:
    """The state of every generator that a loader may draw from."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (nnU-Net's loader draws from it)
    torch_state: bytes = torch.random.get_rng_state().numpy().tobytes()
    return repr((random.getstate(), name, rest)).encode() + np.asarray(keys).tobytes() + torch_state
