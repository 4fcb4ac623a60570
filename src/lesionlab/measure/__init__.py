"""Case and mask to numbers: the lesions, and what each of them and the patient measures."""

from lesionlab.measure.lesions import measure

__all__ = ["measure"]
