"""One training in several processes, one per GPU, started by torchrun.

Each process trains on its part of the batch; gradients, and what is counted over a batch, count over all.
Asking which process this is loads no torch.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def first_process() -> bool:
    """True in the process that writes files and shows progress: the only one, or torchrun's number 0."""
    return int(os.environ.get("RANK", "0")) == 0 or not under_torchrun()


def under_torchrun() -> bool:
    """True in one of several processes that torchrun started."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join torchrun's other processes, where there are any; gives the device of this one.

    On the way out each waits for all; one that fails does not, and torchrun then ends the others. They stay
    connected until the process ends, for the next fold: torchrun's meeting place serves once.
    """
    if not under_torchrun():
        yield device
        return
    import torch
    from torch import distributed

    on_gpu = device.type == "cuda"
    if on_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_gpu else "gloo")
        atexit.register(distributed.destroy_process_group)
    yield device
    distributed.barrier()


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, of gradients too; the values themselves where there is one process."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    from lesionlab.train.exchange import SumOverProcesses

    total: Tensor = SumOverProcesses.apply(values)
    return total
