"""One run on several processes: who they are, what each holds of a grid, and sums that do not depend on their number.

The only package that imports mpi4py. All others ask `world()`, which is `Alone` unless a command has called `begin`
under mpiexec: then it is `Ranks`, and each process holds a slab of the grid (`Division`) with layers of its neighbours.
"""

from fvflow.parallel.alone import Alone
from fvflow.parallel.blocks import BLOCK
from fvflow.parallel.division import Division
from fvflow.parallel.launched import arrange, begin, world
from fvflow.parallel.pieces import Pieced, pieces_of, shaped

__all__ = [
    "BLOCK",
    "Alone",
    "Division",
    "Pieced",
    "arrange",
    "begin",
    "pieces_of",
    "shaped",
    "world",
]
