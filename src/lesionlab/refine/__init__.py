"""Mask to mask: cleaning up what a method found."""

from lesionlab.refine.components import cleaned, fill_holes, refine

__all__ = ["cleaned", "fill_holes", "refine"]
