"""python -m tests.benchmarks [linear | jko | transport | ranks] [...]: the figures of the README."""

import sys

from tests.benchmarks import jko, linear, ranks, transport

NAMED = {"linear": linear.main, "jko": jko.main, "transport": transport.main, "ranks": ranks.main}
name, *numbers = sys.argv[1:] or ["linear"]
NAMED[name](*map(int, numbers))
