"""One run on several processes: who they are, what each holds of a grid, and sums that do not depend on their number.

The only package that imports mpi4py. All others ask `world()`, which is `Alone` unless a command has called `begin`
under mpiexec: then it is `Ranks`, and each process holds a slab of the grid (`Division`) with layers of its neighbours.

Arrays (cell,) of a rank are those of its `fvflow.mesh.Slab`, layers of the neighbours included. So

- what computes a cell from other cells leaves these layers right, by `refresh` if need be;
- what adds over cells goes through `inner` or `total`, or by layers through `total_of_layers`;
- what compares or decides over cells goes through `largest`, `smallest`, `every` or `some`: a decision that one rank
  takes alone lets all others wait for ever;
- what is a number per opening, or of another part of a surface, is added in one order after `gathered`;
- what needs the whole mesh at once runs on the first, `by_one`;
- what writes, or reads a clock, does so `by_first` or `on_first`.

A kind says by `divided`, `cellwise` or `undivided` whether it keeps to this; the case refuses the others.
"""

from fvflow.parallel.alone import Alone
from fvflow.parallel.blocks import BLOCK
from fvflow.parallel.division import Division
from fvflow.parallel.launched import arrange, begin, by_one, world
from fvflow.parallel.pieces import Pieced, pieces_of, shaped

__all__ = [
    "BLOCK",
    "Alone",
    "Division",
    "Pieced",
    "arrange",
    "begin",
    "by_one",
    "pieces_of",
    "shaped",
    "world",
]
