"""Comparisons: closed forms of Gaussians, one density on two meshes, integrals recomputed on a common refinement."""

import json

import numpy as np
import pytest
import xarray
from scipy.special import ndtr

import fvflow
from fvflow.cli.commands import main
from fvflow.dataset import Frame, Layout, Memory
from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Box, Grid
from fvflow.plot import side_by_side
from fvflow.studies.overlay import MomentWeights, Overlay
from fvflow.studies.picture import _dataset
from tests.meshes import triangles


def gaussian(edges, mean, deviation):
    """The averages of a normal density between edges."""
    z = (edges - mean) / deviation
    upper = z[:-1] > 0  # there from the other tail, for full relative accuracy
    return np.where(upper, ndtr(-z[:-1]) - ndtr(-z[1:]), ndtr(z[1:]) - ndtr(z[:-1])) / np.diff(edges)


def result(mesh, densities, times=None):
    """A dataset like that of a run."""
    memory = Memory(Layout(mesh, {}), {})
    for time, density in zip(range(len(densities)) if times is None else times, densities, strict=True):
        memory.append(Frame(float(time), np.ravel(density), {}, {}, {}))
    return memory.close({}, {})


def grid(*edges):
    return Grid(tuple(np.asarray(edge, float) for edge in edges))


def test_gaussians_on_a_line_against_closed_forms():
    edges = np.linspace(-8, 8, 1601), np.linspace(-8, 8, 1407)
    (m, s), (n, u) = (-0.4, 0.8), (0.5, 1.1)
    sides = [result(grid(edge), [gaussian(edge, *law)]) for edge, law in zip(edges, ((m, s), (n, u)), strict=True)]
    found = fvflow.compare(*sides, width=1e-4)
    kl = np.log(u / s) + (s**2 + (m - n) ** 2) / (2 * u**2) - 0.5
    back = np.log(s / u) + (u**2 + (m - n) ** 2) / (2 * s**2) - 0.5
    w2 = np.hypot(m - n, s - u)
    assert found.kl[0] == pytest.approx(kl, rel=1e-4)
    assert found.kl_back[0] == pytest.approx(back, rel=1e-4)
    assert found.w2_lower[0] - 1e-4 * w2 <= w2 <= found.w2_upper[0] + 1e-4 * w2  # the cells shift W2 by 1e-5
    assert found.w2_upper[0] - found.w2_lower[0] < 1e-3 * w2
    np.testing.assert_allclose(found.mean[0, :, 0], [m, n], atol=1e-12)
    np.testing.assert_allclose(found.covariance[0, :, 0, 0], [s**2, u**2], rtol=1e-4)
    square = (1 / s + 1 / u) / (2 * np.sqrt(np.pi))  # int a^2 + int b^2
    product = np.exp(-((m - n) ** 2) / (2 * (s**2 + u**2))) / np.sqrt(2 * np.pi * (s**2 + u**2))
    assert found.l2[0] == pytest.approx(np.sqrt(square - 2 * product), rel=1e-4)


def test_gaussians_in_the_plane_against_closed_forms():
    x, y = np.linspace(-6, 6, 31), np.linspace(-6, 6, 25)
    one = np.outer(gaussian(y, 0.2, 1.1), gaussian(x, -0.3, 1.0))
    other = np.outer(gaussian(y, -0.2, 0.9), gaussian(x, 0.3, 1.2))
    found = fvflow.compare(
        result(grid(x, y), [one]), result(grid(x, y), [other]), width=0.2, seconds=60, normalise=True
    )
    w2 = np.sqrt(0.6**2 + 0.4**2 + 0.2**2 + 0.2**2)
    assert found.w2_lower[0] <= 1.02 * w2  # the cells shift W2
    assert 0.98 * w2 <= found.w2_upper[0] < 1.3 * w2
    kl = np.log(1.2 / 1.0) + (1.0 + 0.6**2) / (2 * 1.2**2) + np.log(0.9 / 1.1) + (1.1**2 + 0.4**2) / (2 * 0.9**2) - 1.0
    assert found.kl[0] == pytest.approx(kl, rel=0.05)
    np.testing.assert_allclose(found.mean[0], [[-0.3, 0.2], [0.3, -0.2]], atol=1e-4)
    np.testing.assert_allclose(found.covariance[0, 0], np.diag([1.0, 1.21]), atol=0.05)


def test_one_density_on_two_grids_is_one():
    random = np.random.default_rng(0)
    x, y = np.sort(random.uniform(0, 2, 9)), np.sort(random.uniform(-1, 1, 7))
    coarse = random.random((2, 6, 8))
    fine = [np.concatenate([np.linspace(e[i], e[i + 1], 4)[:-1] for i in range(len(e) - 1)] + [e[-1:]]) for e in (x, y)]
    refined = coarse.repeat(3, axis=1).repeat(3, axis=2)
    found = fvflow.compare(result(grid(x, y), coarse), result(grid(*fine), refined), w2=False)
    for name in ("l1", "linf", "kl", "kl_back", "mass", "mean", "covariance"):
        assert np.abs(found.per_time[name]).max() < 1e-13, name


def test_one_density_on_triangles_and_squares_is_one():
    mesh = triangles()
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    square = grid(*(np.linspace(low[i], high[i], count) for i, count in ((0, 8), (1, 6))))
    found = fvflow.compare(result(mesh, [np.full(mesh.cells, 2.0)]), result(square, [np.full(35, 2.0)]), w2=False)
    assert found.l1[0] < 1e-12
    assert found.kl[0] < 1e-12
    np.testing.assert_allclose(found.mean[0], [0.5 * (low + high)] * 2, atol=1e-12)
    np.testing.assert_allclose(found.covariance[0], [np.diag((high - low) ** 2) / 12] * 2, atol=1e-12)
    assert found.remarks == ()


@pytest.mark.parametrize("seed", range(3))
def test_integrals_are_those_over_a_common_refinement(seed):
    """Each axis is cut at all edges of both, the values are looked up at midpoints: nothing of the overlaps is used."""
    random = np.random.default_rng(seed)
    own = [np.unique(np.r_[0, 1, random.random(count)]) for count in (5, 4)]
    others = [np.unique(np.r_[0.2, 1.3, random.uniform(0.2, 1.3, count)]) for count in (6, 3)]
    a, b = (random.random([len(e) - 1 for e in edges][::-1]) for edges in (own, others))
    cuts = [np.union1d(one, two) for one, two in zip(own, others, strict=True)]
    middle = [0.5 * (cut[1:] + cut[:-1]) for cut in cuts]

    def looked_up(edges, values):
        places = [np.searchsorted(edge, at) - 1 for edge, at in zip(edges, middle, strict=True)]
        inside = [(at > edge[0]) & (at < edge[-1]) for edge, at in zip(edges, middle, strict=True)]
        clipped = [np.clip(place, 0, len(edge) - 2) for place, edge in zip(places, edges, strict=True)]
        return values[np.ix_(*clipped[::-1])] * np.outer(inside[1], inside[0])

    one, two, area = looked_up(own, a), looked_up(others, b), np.outer(np.diff(cuts[1]), np.diff(cuts[0]))
    found = fvflow.compare(result(grid(*own), [a]), result(grid(*others), [b]), w2=False)
    assert found.l1[0] == pytest.approx((area * np.abs(one - two)).sum(), rel=1e-12)
    assert found.l2[0] == pytest.approx(np.sqrt((area * (one - two) ** 2).sum()), rel=1e-12)
    assert found.linf[0] == pytest.approx(np.abs(one - two).max(), rel=1e-12)
    assert found.kl[0] == np.inf  # A has mass where the other mesh is not
    assert any("different domains" in remark for remark in found.remarks)
    x = np.meshgrid(*middle)
    mean = [(area * two * axis).sum() / (area * two).sum() for axis in x]
    np.testing.assert_allclose(found.mean[0, 1], mean, rtol=1e-12)


def test_kl_over_a_common_refinement():
    x, y = np.linspace(0, 1, 4), np.linspace(0, 1, 6)
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 3.0, 1.0, 3.0])
    one, two = a.repeat(5), b.repeat(3)
    found = fvflow.compare(result(grid(x), [a]), result(grid(y), [b]), w2=False)
    assert found.kl[0] == pytest.approx((one * np.log(one / two) - one + two).sum() / 15, rel=1e-12)
    assert found.kl_back[0] == pytest.approx((two * np.log(two / one) - two + one).sum() / 15, rel=1e-12)


def test_a_larger_cell_takes_the_mean_of_both():
    overlay = Overlay.of(grid([0, 1, 2, 3, 4]), grid([0, 2, 4]))
    mesh, a, b = overlay.on_coarser(np.array([1.0, 3.0, 5.0, 5.0]), np.array([7.0, 8.0]))
    assert mesh.cells == 2
    np.testing.assert_allclose((a, b), ([2, 5], [7, 8]))


def test_moments_of_a_cell_are_those_of_its_points():
    mesh = grid([1.0, 3.0], [0.0, 0.5])
    mean, covariance = MomentWeights.of(mesh).moments(np.array([3.0]))
    np.testing.assert_allclose(mean, [2.0, 0.25], rtol=1e-14)
    np.testing.assert_allclose(covariance, np.diag([4 / 12, 0.25 / 12]), atol=1e-14)


LINE = np.linspace(0, 1, 11)
RAMP = np.linspace(0.5, 1.5, 10)


def test_times_are_those_of_both_and_never_the_nearest():
    one, two = result(grid(LINE), [RAMP] * 4, [0, 0.1, 0.2, 0.3]), result(grid(LINE), [RAMP] * 3, [0.1, 0.15, 0.3])
    found = fvflow.compare(one, two, w2=False)
    np.testing.assert_allclose(found.time, [0.1, 0.3])
    assert found.remarks == (
        "compared at 2 times that both have; 2 times of A are not in B and 1 times of B are not in A",
    )
    np.testing.assert_allclose(fvflow.compare(one, two, at=0.3, w2=False).time, [0.3])
    with pytest.raises(CaseError, match=r"B has no t = 0.2; the nearest that it has is 0.15"):
        fvflow.compare(one, two, at=0.2)
    with pytest.raises(CaseError, match=r"A and B have no time in common: A has 0, 0.1, ..., 0.3, B 7; run both"):
        fvflow.compare(one, result(grid(LINE), [RAMP], [7.0]))


def test_overall_is_the_largest_and_the_mean_over_time():
    other = [RAMP, RAMP + 1, RAMP + 4]
    found = fvflow.compare(result(grid(LINE), [RAMP] * 3, [0, 1, 3]), result(grid(LINE), other, [0, 1, 3]), w2=False)
    np.testing.assert_allclose(found.l1, [0, 1, 4], atol=1e-14)
    assert found.overall["l1"] == pytest.approx({"largest": 4.0, "at": 3.0, "mean": (0.5 + 5.0) / 3.0})
    assert "energy" not in found.overall


@pytest.mark.parametrize("ending", ["npz", "npy", "nc", "array"])
def test_densities_from_elsewhere_are_on_their_grid_or_on_that_of_the_result(tmp_path, ending):
    x, y, times = np.linspace(0, 2, 5), np.linspace(-1, 1, 4), [0.0, 0.5]
    rho, model = np.random.default_rng(0).random((2, 2, 3, 4))
    one, centre = result(grid(x, y), rho, times), (0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1]))
    path = tmp_path / f"model.{ending}"
    if ending == "npz":
        np.savez(path, rho=model, time=times, x=centre[0], y=centre[1])
    elif ending == "npy":
        np.save(path, model)
    elif ending == "nc":  # dimensions in another order have names
        axes = {"time": times, "x": centre[0], "y": centre[1]}
        xarray.Dataset({"rho": (("time", "x", "y"), model.transpose(0, 2, 1))}, axes).to_netcdf(path)
    found = fvflow.compare(one, model if ending == "array" else path, w2=False)
    area = 0.5 * 2 / 3
    np.testing.assert_allclose(found.l1, area * np.abs(rho - model).sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.time, times)


def test_unequal_masses_have_no_w2_unless_they_are_normalised():
    one, two = result(grid(LINE), [RAMP]), result(grid(LINE), [1.01 * RAMP])
    found = fvflow.compare(one, two)
    assert np.isnan(found.w2_upper[0])
    assert found.l1[0] == pytest.approx(0.01)
    assert "the masses differ by 0.01, so that there is no W2" in found.remarks[0]
    normalised = fvflow.compare(one, two, normalise=True)
    assert normalised.l1[0] < 1e-15
    assert normalised.w2_upper[0] < 1e-6
    np.testing.assert_allclose(normalised.mass[0], [1.0, 1.01])


def test_negative_and_missing_mass_is_told():
    hole = np.where(np.arange(10) < 3, 0.0, RAMP)
    found = fvflow.compare(result(grid(LINE), [RAMP, RAMP]), result(grid(LINE), [hole, RAMP - 0.6]), w2=False)
    assert found.kl[0] == np.inf
    assert np.isfinite(found.kl_back[0])
    assert np.isnan(found.kl[1])
    assert any("KL(A|B) is infinite: A has a mass of 0.183 where B is 0" in remark for remark in found.remarks)
    assert any("B is negative, at least -0.1" in remark for remark in found.remarks)


def test_swapped_axes_are_found_by_lengths_or_told_by_the_distance(tmp_path):
    x, y = np.linspace(0, 1, 49), np.linspace(0, 1, 65)
    rho = np.outer(gaussian(y, 0.3, 0.1), gaussian(x, 0.6, 0.2))[None]
    one = result(grid(x, y), rho)
    with pytest.raises(
        CaseError, match=r"rho is \(48, 64\) at each time, and the mesh of the other \(64, 48\): the axes"
    ):
        fvflow.compare(one, rho.transpose(0, 2, 1))
    np.savez(tmp_path / "m.npz", rho=rho.transpose(0, 2, 1), time=[0.0], x=x[1:] - 0.5 / 48, y=y[1:] - 0.5 / 64)
    with pytest.raises(OutputError, match="the axes are swapped"):
        fvflow.compare(one, tmp_path / "m.npz")
    square = np.outer(gaussian(x, 0.3, 0.1), gaussian(x, 0.6, 0.2))[None]
    found = fvflow.compare(result(grid(x, x), square), square.transpose(0, 2, 1), w2=False)
    assert "with x and y swapped the L1 distance is 0 times this one" in found.remarks[-1]


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (result(grid(LINE), [RAMP]), result(grid(LINE, LINE), [np.ones(100)]), "A has 1 dimensions and B 2"),
        (result(grid(LINE), [RAMP]), result(grid(LINE + 5), [RAMP]), r"no point in common: \[0, 1\] and \[5, 6\]"),
        (result(grid(LINE), [RAMP]), np.ones((1, 7)), r"shape \(1, 7\) and no coordinates"),
        (result(grid(LINE), [RAMP] * 2), np.ones((3, 10)), "has 3 frames without times, and the other has 2 times"),
        (np.ones((1, 7)), np.ones((1, 7)), "neither A nor B has a mesh or coordinates"),
        (result(grid(LINE), [RAMP]), np.full((1, 10), np.nan), "rho is nan in cell 0"),
        (result(grid(LINE), [RAMP]), np.array(["a"]), "give real numbers"),
        (result(grid(LINE), [RAMP]), xarray.Dataset({"x": ("x", LINE)}), "B: has no rho"),
        (
            result(grid(LINE), [RAMP]),
            xarray.Dataset({"rho": (("time", "x"), np.ones((1, 3)))}, {"time": [0.0], "x": [0.1, 0.2, 0.5]}),
            "x is unevenly spaced, so that its cells are not known; give x_edges",
        ),
        (
            result(grid(LINE), [RAMP]),
            xarray.Dataset({"rho": (("time", "x"), np.ones((2, 2)))}, {"time": [1.0, 0.0], "x": [0.1, 0.2]}),
            "its 2 times have to be finite and ascending",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(one, two, said):
    with pytest.raises(CaseError, match=said):
        fvflow.compare(one, two)


def test_unevenly_spaced_cells_by_their_edges(tmp_path):
    edges = np.array([0.0, 0.1, 0.3, 1.0])
    np.savez(tmp_path / "m.npz", rho=[[1.0, 2.0, 3.0]], time=[0.0], x_edges=edges)
    found = fvflow.compare(result(grid(edges), [[1.0, 2.0, 4.0]]), tmp_path / "m.npz", w2=False)
    assert found.l1[0] == pytest.approx(0.7)


OU = """
mesh: {kind: box, lower: [-5], upper: [5], cells: [100]}
flow: {kind: fokker-planck, potential: 0.5*x**2, epsilon: 1.0}
initial: {kind: gaussian, mean: [1.5], covariance: [[0.3]]}
times: {end: 0.2, step: 0.05, save: 0.1}
"""


def test_densities_from_elsewhere_have_the_energy_of_the_case():
    """int rho log rho + V rho, computed here by the cell averages of V that the case is told to take."""
    run_ = fvflow.Case.parse(OU).run()
    model = run_["rho"].values * (1 + 0.1 * np.sin(run_["x"].values))
    found = fvflow.compare(run_, model, w2=False)
    width, x = 0.1, run_["x"].values
    kinetic = (model * np.log(model) * width).sum(axis=1)
    own = (run_["rho"].values * np.log(run_["rho"].values) * width).sum(axis=1)
    potential = run_["energy"].values - own - (run_["rho"].values * 0.5 * x**2 * width).sum(axis=1)
    np.testing.assert_allclose(potential, potential[0], atol=1e-10)  # V is that of the centres, up to a constant
    expected = kinetic + (model * (0.5 * x**2 + potential[0]) * width).sum(axis=1)
    np.testing.assert_allclose(found.energy[:, 1], expected, rtol=1e-6)
    np.testing.assert_array_equal(found.energy[:, 0], run_["energy"].values)
    coarse = xarray.Dataset(
        {"rho": (("time", "x"), np.full((1, 50), 0.1))}, {"time": [0.1], "x": np.arange(50) * 0.2 - 4.9}
    )
    uniform = fvflow.compare(run_, coarse, w2=False)
    assert uniform.energy[0, 1] == pytest.approx(np.log(0.1) + 25 / 6 + potential[0], rel=1e-3)


def run(arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_command(tmp_path, capsys):
    for name, cells in (("a", 100), ("b", 80)):
        fvflow.Case.parse(OU, overrides={"mesh.cells": f"[{cells}]"}).write(tmp_path / f"{name}.nc")
    files = [str(tmp_path / "a.nc"), str(tmp_path / "b.nc")]
    assert run(["compare", *files, "--json", "-o", str(tmp_path / "c.png")]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["time"] == pytest.approx([0, 0.1, 0.2])
    with fvflow.read(files[0]) as a, fvflow.read(files[1]) as b:
        assert told["differences"]["energy"] == pytest.approx(np.abs(a.energy - b.energy).values)
    assert told["overall"]["w2_upper"]["largest"] < 0.01
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert "wrote" in err
    assert run(["compare", *files, "--at", "0.1", "--no-w2"]) == 0
    out = capsys.readouterr().out
    assert "KL(A|B)" in out
    assert "W2" not in out
    assert run(["compare", *files, "--at", "0.15"]) == 3
    assert "the nearest that it has is 0.1" in capsys.readouterr().err
    assert run(["compare", files[0], str(tmp_path / "c.png")]) == 5


def test_pictures_show_both_and_their_difference():
    square = Box((0.0, 0.0), (1.0, 1.0), (4, 3)).build()
    sides = [_dataset(square, [0.0, 1.0], [np.arange(12.0), factor * np.ones(12)]) for factor in (1.0, 2.0, -1.0)]
    figure = side_by_side(sides, ("A", "B", "B - A"))
    panels = [panel for panel in figure.axes if panel.get_ylabel() != "<colorbar>"]
    titles = [panel.get_title() for panel in panels]
    assert titles[:3] == ["A", "B", "B - A"]
    difference = figure.axes[2].collections[0]
    assert difference.get_clim() == (-11.0, 11.0)
    line = side_by_side([_dataset(grid(LINE), [0.5], [RAMP + i]) for i in range(3)], ("$a$", "B", "B - A"))
    first = line.axes[0]
    assert [curve.get_label() for curve in first.lines] == [r"\$a\$", "B"]
    np.testing.assert_allclose(first.lines[1].get_ydata(), RAMP + 1)
