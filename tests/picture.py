"""python -m tests.picture: draws the pictures of the README: gallery, trajectories and barycentre.png in cases/."""

from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import fvflow
from fvflow.case import Case
from fvflow.wasserstein import barycentre

INK, BLUE, RED = "#222222", "#1f6fb2", "#c8443c"


WELLS = """
title: exact paths of the probability flow into two wells that rotate
mesh: {kind: box, lower: [-2, -1.4], upper: [2, 1.8], cells: [160, 128]}
flow: {kind: fokker-planck, epsilon: 0.15, potential: (x**2 - 1)**2/2 + y**2, stream: -0.8*exp(-x**2 - y**2)}
initial: {kind: gaussian, mean: [0, 1.1], covariance: [[0.04, 0], [0, 0.04]]}
times: {end: 4, step: 0.01, save: 0.05}
output: {fluxes: true}
"""


def main() -> None:
    """All pictures."""
    gallery()
    paths()
    shapes()


def shapes() -> None:
    """Four shapes and the barycentres between the first two, and of all."""
    case = Case.read("cases/barycentre-shapes.yaml")
    simulation = case.prepare()
    mesh, given = simulation.mesh, simulation.problem.given
    middle = barycentre(mesh, given[:2]).density
    figure, axes = plt.subplots(1, 6, figsize=(14, 2.6), constrained_layout=True)
    names = ("disc", "ring", "between disc and ring", "cross", "square", "between all four")
    densities = (*given[:2], middle, *given[2:], case.run().rho[0].values.ravel())
    for axis, name, density in zip(axes, names, densities, strict=True):
        axis.pcolormesh(*mesh.edges, density.reshape(mesh.shape), cmap="Blues", vmin=0.0, vmax=6.0, rasterized=True)
        axis.set(aspect="equal", title=name, xticks=[], yticks=[])
    figure.savefig(Path("cases/barycentre.png"), dpi=110)


def paths() -> None:
    """Samples of a density, carried by the fluxes of the run over the density at its end."""
    ds = Case.parse(WELLS).run()
    positions = [fvflow.sample(ds, 200, 0.0)]
    for begin, end in pairwise(ds["time"].values):
        positions.append(fvflow.push(ds, positions[-1], begin, end, method="exact").points)
    fvflow.plot.trajectories(ds, positions).savefig("cases/trajectories.png", dpi=110)


def gallery() -> None:
    """Rotating drift, relaxation in a double well, the ledger of that run, and a geodesic."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right, last) = plt.subplots(1, 4, figsize=(14, 3.4), constrained_layout=True)

    rotating = Case.read("cases/ou-2d-rotating.yaml").run()
    levels = np.linspace(0.04, 0.75, 7)
    for index, shade in zip((0, 2, 5, 10), (0.35, 0.5, 0.7, 1.0), strict=True):
        frame = rotating.rho[index]
        left.contour(frame.x, frame.y, frame, levels=levels, colors=[BLUE], alpha=shade, linewidths=0.8)
        x, y = rotating["mean"][index].values
        left.annotate(f"t = {float(frame.time):g}", (x, y), fontsize=7, ha="center", color=INK)
    left.plot(*rotating["mean"].values.T, color=RED, linewidth=1.2)
    left.set(xlim=(-1.6, 2.6), ylim=(-1.6, 2.0), aspect="equal", title="a drift that rotates: density and mean")

    well = Case.read("cases/double-well-1d.yaml").replace({"times": {"end": 60, "step": 0.05, "save": 0.5}}).run()
    for index, shade in ((0, 0.25), (1, 0.4), (2, 0.55), (8, 0.75), (-1, 1.0)):
        label = f"t = {float(well.time[index]):g}"
        middle.plot(well.x, well.rho[index], color=BLUE, alpha=shade, linewidth=1.3, label=label)
    middle.set(ylim=(0, 1.4), xlim=(-2, 2), title="relaxation in a double well", xlabel="x", ylabel="rho")
    middle.legend(frameon=False, fontsize=7)

    lowest = float(Case.read("cases/double-well-1d.yaml").run().energy[-1])
    right.semilogy(well.time, well.energy - lowest + 1e-17, color=BLUE, label="energy above its minimum")
    right.semilogy(well.time, well.error_l1, color=INK, label="L1 distance to exp(-V/eps)/Z")
    right.semilogy(well.time, np.abs(well.mass - 1) + 1e-17, color=RED, label="|mass - 1|")
    right.set(ylim=(1e-17, 10), title="its ledger", xlabel="t")
    right.legend(frameon=False, fontsize=7)
    split = Case.read("cases/transport-split-2d.yaml").run()
    for index, colour in ((0, INK), (8, BLUE), (16, RED)):
        frame = split.rho[index]
        last.contour(frame.x, frame.y, frame, levels=np.linspace(1.5, 22, 6), colors=[colour], linewidths=0.8)
        last.plot([], [], color=colour, label=f"t = {float(frame.time):g}")
    bounds = f"{float(split.w2_lower):.4f} <= W2 <= {float(split.w2_upper):.4f}"
    last.set(aspect="equal", title=f"a geodesic, {bounds}")
    last.legend(frameon=False, fontsize=7, loc="upper left")
    figure.savefig(Path("cases/gallery.png"), dpi=130)


if __name__ == "__main__":
    main()
