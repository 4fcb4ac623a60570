"""Public data sets, and one's own, as cases: a literal table of what can be read by name.

One file per data set, whose docstring tells its exact layout; converting them is `lesionlab convert NAME
SRC`.
"""

from __future__ import annotations

from lesionlab.read.datasets import autopet, breastdm, bus_bra, busi, folder, mama_mia, stacks, sts
from lesionlab.read.datasets.layout import Dataset, Item, Listing

__all__ = ["DATASETS", "Dataset", "Item", "Listing"]

DATASETS: dict[str, Dataset] = {
    "breastdm": breastdm.DATASET,
    "autopet": autopet.DATASET,
    "busi": busi.DATASET,
    "bus-bra": bus_bra.DATASET,
    "mama-mia": mama_mia.DATASET,
    "sts": sts.DATASET,
    "stacks": stacks.DATASET,
    "folder": folder.DATASET,
}
