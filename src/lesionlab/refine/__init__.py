"""Mask to mask: components kept, holes filled."""
