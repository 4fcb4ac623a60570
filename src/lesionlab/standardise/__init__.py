"""Case to case: SUV, one grid, the channels that a recipe asks for."""

from __future__ import annotations

from lesionlab.core.suv import Candidate, SuvAudit
from lesionlab.standardise.case import standardise, suv_volume, with_suv
from lesionlab.standardise.suv import suv_audit

__all__ = ["Candidate", "SuvAudit", "standardise", "suv_audit", "suv_volume", "with_suv"]
