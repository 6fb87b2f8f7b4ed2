"""Studies: many runs of a case; results compared with each other, with closed forms and with models from elsewhere."""

from fvflow.studies.citations import Citations, cite
from fvflow.studies.comparison import Comparison, compare
from fvflow.studies.exporting import export
from fvflow.studies.verification import Verification, verify, write_csv

__all__ = ["Citations", "Comparison", "Verification", "cite", "compare", "export", "verify", "write_csv"]
