"""The groups of a result file besides those of the run's frames: figures, regions, and the arrays for ParaView."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fvflow.dataset.layout import Layout
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.mesh import Array, Mesh, grid_in_pieces, topology
from fvflow.parallel import Pieced

SIDES = "sides_"
"""What the names of figures of carried samples begin with."""
FIGURES = {
    "w2": "W2: the solver's value, or the nearer end of the proved interval if the value is outside it",
    "w2_solver": "W2 as computed by the solver, including its discretisation error",
    "w2_lower": "proved lower bound of W2 of the densities constant in cells",
    "w2_upper": "proved upper bound of W2 of the densities constant in cells",
    "gap": "(w2_upper - w2_lower)/w2_upper",
    "functional_lower": "proved lower bound of sum_k w_k W2^2 of a barycentre, constant in cells",
    "functional_upper": "proved upper bound of sum_k w_k W2^2 of a barycentre, constant in cells",
    "functional_gap": "(functional_upper - functional_lower)/functional_upper",
    "action": "w2_solver^2/2",
    "duality_gap": "relative duality gap of the discrete W2, certified",
    "residual": "relative residual of the equations that the solver solves",
    "spectral_gap": "rate_1: the decay rate of the slowest mode, and so of the distance to the steady state",
    "gap_error": "relative error of spectral_gap from round-off and iteration, without that of the mesh",
    "repair": "largest L1 change that made the solver's densities non-negative and admissible, relative to the mass",
    "continuity": "largest residual of the continuity equation in an interval, relative to the mass",
    "hamilton_jacobi": "largest residual of the Hamilton-Jacobi equation where rho is above 1e-4 of its maximum",
    "hamilton_jacobi_excess": "largest positive residual of the Hamilton-Jacobi equation",
    "converged": "1 if the solver converged, else 0",
    "w2_error": "relative error of w2 against the closed form",
    "w2_solver_error": "relative error of w2_solver against the closed form",
    "kl": "relative entropy of the bridge with respect to the reference that starts from the initial density, mass 1",
    "kl_error": "relative error of kl against the closed form",
    "rounds": "rounds of the iteration",
    "marginal_error": "L1 distance of the density at the end from the target, relative to the mass",
    "steepness": "rms change of the logarithm of a factor between neighbouring cells at the ends, weighted by mass",
    "unreached": "share of the mass of the target where the reference does not come, which is left out",
    "mean_square_distance": "mean of |x - y|^2 of the ends of paths, an upper bound of W2^2 for mass 1",
    "duality": "largest change of sum |K| phi rho between saved times, relative to sum |K| |phi| rho at the start",
    "mean_first_passage_time": "mean time until a target is reached, from the initial density",
    "variance_first_passage_time": "variance of the time until a target is reached, from the initial density",
    "quasi_stationary_rate": "rate at which targets are reached from the quasi-stationary density",
    "mean_deviation": "largest deviation of the mean of particles from that of their law, in standard errors",
    "covariance_deviation": "largest deviation of the covariance of particles from that of the law, in standard errors",
    "chi_square_p": "probability that the numbers of particles in the cells are farther from their law, by chi-square",
    "rate": "number of transitions from `from` to `to` per unit time, for mass 1",
    "rate_defect": "relative difference of the rates out of `from`, into `to`, and of the transitions back",
    "forward_rate_constant": "rate over the share of the mass that was in `from` later than in `to`",
    "backward_rate_constant": "rate over the share of the mass that was in `to` later than in `from`",
    "outside": "share of the points that are outside the mesh at the end",
    "determinant_gap": "rms difference of log det and that by differences of paths; inf if these meet, nan if unknown",
    "hopf_lax": "largest difference of phi from the Hopf-Lax formula at the end, relative to its range",
    "sides_push_forward": "means of test functions over the points and their integrals, in standard errors",
    "sides_push_forward_gap": "the same, absolute; the functions are between -1 and 1",
    "sides_moments": "first and second moments, in standard errors",
    "sides_density": "rms of log rho(t, T) + log det DT - log rho_0",
    "sides_determinant": "rms of log det DT by differences of paths less the integral of div v",
    "sides_action_of_paths": "int mean |dX/dt|^2 dt, by chords between the saved times",
    "sides_action_of_densities": "int int |v|^2 rho dx dt",
    "sides_action": "difference of both actions, over that of densities",
    "sides_lagrangian_step": "largest distance of a step from the JKO step of quantiles, L1 over the mass",
}


def figure_group(figures: Mapping[str, float]) -> dict[str, Group]:
    """The figures of a whole run: /figures, for a geodesic /transport; nothing if there are none."""
    if not figures:
        return {}
    variables = {
        name: NetCDFVariable((), {"units": "1", "long_name": _meaning(name)}, np.array(value))
        for name, value in figures.items()
    }
    return {"transport" if "action" in figures else "figures": Group(variables)}


def _meaning(figure: str) -> str:
    """The description of a figure of a whole run."""
    if figure in FIGURES:
        return FIGURES[figure]
    name, number = figure.split("_")
    return f"{'decay rate' if name == 'rate' else 'imaginary part of the rate'} of mode_{number}"


def mesh_groups(mesh: Mesh) -> dict[str, Group]:
    """The fraction of each cell in each region of the mesh, and the nodes of the named walls."""
    groups = {}
    if mesh.regions:
        space = Layout(mesh, {}).space
        regions = {
            name: NetCDFVariable(space, {"units": "1", "long_name": f"fraction of each cell in {name}"}, inside)
            for name, inside in mesh.regions.items()
        }
        groups["regions"] = Group(regions, attributes={"location": space[-1].removeprefix("mesh_")})
    if mesh.boundaries:
        sizes = {f"wall_{name}": len(rows) for name, rows in mesh.boundaries.items()}
        walls = {}
        for name, rows in mesh.boundaries.items():
            attributes = {"long_name": f"nodes of the walls {name}"}
            walls[name] = NetCDFVariable((f"wall_{name}", "wall_corner"), attributes, mesh.wall_points[rows], "i4")
        groups["boundaries"] = Group(walls, {"wall_corner": mesh.wall_points.shape[1], **sizes})
    return groups


def paraview_group(mesh: Mesh) -> dict[str, Group]:
    """The nodes and cells to which the .xmf2 file refers; of a grid in pieces, so that they take little memory."""
    points: Any
    cells: Any
    if mesh.edges is not None:
        points, cells = grid_in_pieces(mesh)
        shape: tuple[int, ...] = (mesh.cells, 2**mesh.dimension)
        points = replace(points, fetch=partial(_all_in_space, points))
        nodes = points.cells
    else:
        points, cells = _in_space(mesh.points), topology(mesh)[1]
        shape, nodes = cells.shape, len(points)
    dims = ("cell", "corner")[: len(shape)]  # flat if the cells have several shapes
    variables = {
        "points": NetCDFVariable(("node", "space"), {"long_name": "nodes"}, points),
        "topology": NetCDFVariable(dims, {"long_name": "nodes of each cell, in XDMF's order"}, cells, "i4"),
    }
    sizes = {"node": nodes, **dict(zip(dims, shape, strict=True)), "space": 3}
    return {"paraview": Group(variables, sizes)}


def _in_space(points: Array) -> Array:
    """Nodes (node, dim) with all three coordinates."""
    return np.pad(points, ((0, 0), (0, 3 - points.shape[1])))


def _all_in_space(points: Pieced) -> Iterator[Array]:
    yield from map(_in_space, points.fetch())
