"""Sweeps: a case for many values or draws, in processes or on a cluster, into one dataset."""
