"""Studies: many runs of a case, and results compared with each other, closed forms and models from elsewhere."""

from fvflow.studies.citations import Citations, cite
from fvflow.studies.verification import Verification, verify, write_csv

__all__ = ["Citations", "Verification", "cite", "verify", "write_csv"]
