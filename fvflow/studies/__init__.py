"""Studies: many runs of a case, and results compared with each other, with closed forms and with models."""
