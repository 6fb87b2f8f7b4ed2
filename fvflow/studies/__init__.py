"""Studies: many runs of a case, and results compared with each other, with closed forms and with models from elsewhere."""

from fvflow.studies.verification import Verification, verify

__all__ = ["Verification", "verify"]
