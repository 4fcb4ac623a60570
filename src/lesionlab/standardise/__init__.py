"""Case to case: SUV, one grid, the channels that a recipe asks for."""

from __future__ import annotations

from lesionlab.standardise.case import standardise, with_suv
from lesionlab.standardise.suv import Candidate, SuvAudit, suv_audit

__all__ = ["Candidate", "SuvAudit", "standardise", "suv_audit", "with_suv"]
