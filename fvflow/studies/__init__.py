"""Studies: many runs of a case; results compared with each other, with closed forms and with models from elsewhere."""

from fvflow.studies.comparison import Comparison, compare
from fvflow.studies.exporting import export

__all__ = ["Comparison", "compare", "export"]
