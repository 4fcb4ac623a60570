"""The torch backend: a torch module on any device. OpenVINO's is `openvino.py`."""

from __future__ import annotations

from typing import Any

import torch

from lesionlab.core.memory import keep_freed_memory
from lesionlab.networks.device import autocast_dtype
from lesionlab.predict.backends import FloatArray, Wish
from lesionlab.predict.live import torch_bytes


class TorchBackend:
    """A torch module on any device, under autocast unless the precision is float32."""

    keeps = False

    def __init__(self, network: torch.nn.Module, wish: Wish) -> None:
        self.device, self.classes, self.flat = wish.device, wish.classes, wish.flat
        self.place = torch.device(wish.device)
        self.dtype = autocast_dtype(wish.precision, self.place)
        self.layout = torch.channels_last if wish.flat else torch.channels_last_3d
        self.network = network.to(self.place).eval()
        self.packed = self.place.type == "cuda" and self.dtype is not None
        if self.packed:
            self.network = self.network.to(memory_format=self.layout)
        self.work = 0
        if self.place.type == "cpu":
            keep_freed_memory()
            shape = (1, wish.channels, *(wish.patch[1:] if wish.flat else wish.patch))
            self.work = torch_bytes(self.network, shape, 4 if self.dtype is None else 2)
        words = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        self.name = f"torch on {wish.device} in {words[self.dtype]}"

    def run(self, batch: FloatArray) -> Any:
        """See `Backend.run`."""
        tile = torch.from_numpy(batch[:, :, 0] if self.flat else batch).to(self.place)
        if self.packed:
            tile = tile.contiguous(memory_format=self.layout)
        with torch.inference_mode(), torch.autocast(self.place.type, self.dtype, self.dtype is not None):
            logits = self.network(tile).float()
        self.work = 0
        logits = logits[:, :, None] if self.flat else logits
        return logits.numpy() if self.device == "cpu" else logits

    def held(self, array: FloatArray) -> Any:
        """See `Backend.held`."""
        return array if self.device == "cpu" else torch.from_numpy(array).to(self.place)
