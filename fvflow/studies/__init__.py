"""Studies: many runs of a case; results compared with each other, with closed forms and with models from elsewhere."""
