"""Studies: many runs of a case; results compared with each other, with closed forms and with models from elsewhere."""

from fvflow.studies.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
