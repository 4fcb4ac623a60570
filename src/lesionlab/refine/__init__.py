"""Mask to mask: cleaning up what a method found."""

from lesionlab.refine.components import fill_holes, refine

__all__ = ["fill_holes", "refine"]
