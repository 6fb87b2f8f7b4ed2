"""python -m tests.benchmarks [fokker-planck | jko | transport] [...]: the figures of the README."""

import sys

from tests.benchmarks import fokker_planck, jko, transport

NAMED = {"fokker-planck": fokker_planck.main, "jko": jko.main, "transport": transport.main}
name, *numbers = sys.argv[1:] or ["fokker-planck"]
NAMED[name](*map(int, numbers))
