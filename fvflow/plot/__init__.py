"""Pictures of results: profiles in 1D, maps in 2D, maps of a section in 3D, with diagnostics over time below."""

from fvflow.plot.comparison import side_by_side
from fvflow.plot.maps import transport_map
from fvflow.plot.pictures import figure
from fvflow.plot.saving import save, save_figure
from fvflow.plot.sweeps import sweep_figure
from fvflow.plot.trajectories import trajectories

__all__ = ["figure", "save", "save_figure", "side_by_side", "sweep_figure", "trajectories", "transport_map"]
