"""Mutated cases, run in a child process with limits, and random expressions; `python -m tests.fuzz --help`."""
