"""Pictures: what they show, and that all kinds of results have one."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from fvflow import plot
from fvflow.case import Case
from fvflow.errors import CaseError, OutputError
from fvflow.plot.frames import chosen
from fvflow.plot.pictures import distance_note
from tests.scenes import ou


def made(dimension, cells, flow, **rest):
    """The result of a case on [-2, 2]^dimension."""
    box = {"kind": "box", "lower": [-2] * dimension, "upper": [2] * dimension, "cells": [cells] * dimension}
    return Case.parse(json.dumps({"mesh": box, "flow": flow, **rest})).run()


def bar(figure):
    """The panel of the one colour bar."""
    (found,) = (panel for panel in figure.axes if panel.get_label() == "<colorbar>")
    return found


def maps(figure):
    """The panels that hold a map, and the maps."""
    panels = [panel for panel in figure.axes if panel.get_xlabel() != "t" and panel.get_label() != "<colorbar>"]
    return panels, [panel.collections[0] for panel in panels]


@pytest.fixture(scope="module", params=[1, 2, 3])
def result(request):
    times = {"end": 0.2, "step": 0.05, "save": 0.05}
    return ou(request.param, {1: 40, 2: 16, 3: 8}[request.param], times=times).run()


def test_a_picture_shows_the_field_and_the_diagnostics(result):
    figure = plot.figure(result)
    assert isinstance(figure, Figure)
    panels = figure.axes
    titles = [panel.get_title() for panel in panels]
    assert titles[-3:] == ["|mass/mass(0) - 1|", "extremes of rho", "energy"]
    if result.rho.ndim == 2:
        (lines,) = [panel.get_lines() for panel in panels if panel.get_ylabel() == "rho" and panel.get_lines()]
        assert len(lines) == 5
        assert (lines[-1].get_ydata() == result.rho[-1].values).all()
    else:
        assert titles[:5] == ["t = 0", "t = 0.05", "t = 0.1", "t = 0.15", "t = 0.2"]
        plot_cells = panels[4].collections[0].get_array().reshape(result.rho.shape[-2:])
        middle = result.rho[-1] if result.rho.ndim == 3 else result.rho[-1, result.rho.shape[1] // 2]
        assert (plot_cells == middle.values).all()
        assert len(plot.figure(result, frames=[0, -1]).axes) == len(panels) - 3


def test_what_leaves_takes_the_place_of_the_mass_and_the_energy():
    flow, times = {"kind": "fokker-planck", "epsilon": 1}, {"end": 0.2, "step": 0.02, "save": 0.05}
    ds = made(1, 40, flow, initial={"kind": "uniform"}, times=times, walls={"rest": "absorbing"})
    shares, _, rates = plot.figure(ds).axes[-3:]
    assert (shares.get_title(), rates.get_title()) == ("mass", "outflow")
    assert [line.get_label() for line in shares.get_lines()] == ["remains", "absorbed: left", "absorbed: right"]
    np.testing.assert_array_equal(rates.get_lines()[1].get_ydata(), ds.outflow_right)


@pytest.mark.parametrize("ending", [".png", ".svg", ".gif"])
def test_pictures_are_written(result, ending, tmp_path):
    plot.save(result, tmp_path / f"p{ending}")
    assert (tmp_path / f"p{ending}").stat().st_size > 3000


def test_what_cannot_be_drawn_is_refused(result, tmp_path):
    with pytest.raises(CaseError, match="has no field phi; it has rho"):
        plot.figure(result, "phi")
    with pytest.raises(CaseError, match="frame 9: the result has 5"):
        plot.figure(result, frames=[9])
    with pytest.raises(OutputError, match=r"ends in \.gif, \.pdf"):
        plot.save(result, tmp_path / "p.txt")
    with pytest.raises(OutputError, match="cannot be written"):
        plot.save(result, tmp_path / "none" / "p.png")


def test_a_potential_of_a_transport_is_drawn():
    case = Case.read("cases/transport-mixture-1d.yaml").replace({"mesh.cells": [32], "flow.intervals": 4, "checks": {}})
    figure = plot.figure(case.run(), "phi")
    assert [panel.get_title() for panel in figure.axes][-1] == "error l1"


@pytest.mark.parametrize("colours", [None, "shared", "log"])
def test_modes_diverge_from_zero(colours):
    flow = {"kind": "spectrum", "epsilon": 0.5, "potential": "x**2 + 0.7*y**2 + x*y/4", "count": 3}
    ds = made(2, 16, flow)
    figure = plot.figure(ds, colours=colours)
    panels, found = maps(figure)
    assert [panel.get_title() for panel in panels] == [f"mode_{n}, rate {ds[f'rate_{n}']:.4g}" for n in (1, 2, 3)]
    assert len(figure.axes) == 3 + (colours == "shared"), "modes, perhaps a colour bar for all, nothing over time"
    assert all(len(panel.child_axes) == (colours != "shared") for panel in panels), "else each has its own"
    modes = [ds[f"mode_{n}"][0].values for n in (1, 2, 3)]
    for shown, mode in zip(found, modes, strict=True):
        assert (shown.get_array().reshape(mode.shape) == mode).all()
        assert shown.norm.vmax == np.abs(modes if colours == "shared" else mode).max()
        assert shown.norm.vmin == -shown.norm.vmax
        assert shown.norm(0.0) == pytest.approx(0.5, abs=1e-15)
        assert shown.get_cmap().name == "RdBu_r"
    assert maps(plot.figure(ds, "rho"))[1][0].get_cmap().name == "viridis"


def test_modes_on_a_line_share_a_panel():
    ds = made(1, 20, {"kind": "spectrum", "epsilon": 0.5, "potential": "x**2", "count": 3})
    (panel,) = plot.figure(ds).axes
    assert [text.get_text().split(",")[0] for text in panel.get_legend().get_texts()] == ["mode_1", "mode_2", "mode_3"]
    assert len(plot.figure(ds, colours="each").axes) == 3


@pytest.mark.parametrize("dimension", [1, 2])
def test_hamilton_jacobi_draws_phi(dimension):
    initial = {"kind": "uniform"}
    times = {"end": 0.2, "step": 0.05}
    flow = {"kind": "hamilton-jacobi", "potential": "x**2/2 - 1"}
    ds = made(dimension, 12, flow, initial=initial, times=times)
    figure = plot.figure(ds)
    if dimension == 1:
        assert figure.axes[0].get_ylabel() == "phi"
        drawn = [line.get_ydata() for line in figure.axes[0].get_lines()]
    else:
        drawn = [shown.get_array().reshape(12, 12) for shown in maps(figure)[1]]
    assert np.array_equal(drawn, ds.phi.values)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_one_frame_has_no_axes_of_time(dimension):
    ds = made(dimension, 8, {"kind": "stationary", "epsilon": 0.5, "potential": "x**2"})
    figure = plot.figure(ds)
    assert len(figure.axes) == (1 if dimension == 1 else 2), "the density, and its colour bar"
    assert "t" not in [panel.get_xlabel() for panel in figure.axes]
    assert figure.get_suptitle() == ("fvflow run\nsection z = 0.25" if dimension == 3 else "fvflow run")
    assert plot.figure(ds, title="mine").get_suptitle().startswith("mine")


# times


@pytest.mark.parametrize("asked", [None, 2, 3, 5, 8])
def test_frames_are_evenly_spaced_or_the_reader_is_told(asked):
    for count in range(2, 60):
        times = np.linspace(0.3, 2.7, count)
        choice = chosen(times, asked, None)
        shown = times[choice.indices]
        assert shown[0] == times[0]
        assert shown[-1] == times[-1]
        even = np.ptp(np.diff(shown)) < 1e-9
        assert even == (choice.note == ""), (count, choice)
        if asked is not None:
            assert len(shown) == min(count, asked)
            assert even or np.abs(shown - np.linspace(0.3, 2.7, asked)).max() <= 1.2 / (count - 1) + 1e-9
    assert chosen(np.linspace(0, 1, 11), None, None).indices == [0, 2, 4, 6, 8, 10], "which once were 0, 2, 5, 8, 10"


def test_times_that_grow_are_told():
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1, 30)])
    choice = chosen(times, 5, None)
    assert choice.note == "the saved times nearest to evenly spaced ones"
    for time, other in zip(np.linspace(0, 1, 5), times[choice.indices], strict=True):
        assert abs(time - other) == np.abs(times - time).min()
    assert chosen(times[-3:], None, None).note == "all saved times, which are not evenly spaced"
    assert chosen(np.array([0.0, 1.0]), 5, None).note == ""


def test_times_that_are_asked_for():
    ds = ou(1, 20, times={"end": 0.4, "step": 0.05, "save": 0.1}).run()
    figure = plot.figure(ds, times=[0.0, 0.33])
    assert figure.get_suptitle().splitlines()[-1] == "the saved times nearest to those asked for"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["t = 0", "t = 0.3"]
    assert plot.figure(ds, times=[0.0, 0.3]).get_suptitle() == "fvflow run"
    with pytest.raises(CaseError, match=r"time 0\.5: the result runs from 0 to 0\.4"):
        plot.figure(ds, times=[0.5])
    with pytest.raises(CaseError, match="0 frames: a picture has at least one"):
        plot.figure(ds, frames=0)
    assert len(plot.figure(ds, frames=3, colours="each").axes) == 3 + 3


# colours


def test_scales_are_shared_or_apart_or_logarithmic():
    ds = ou(2, 16, times={"end": 0.4, "step": 0.1, "save": 0.1}).run()
    rho = ds.rho.values
    shared = maps(plot.figure(ds))[1]
    assert {(shown.norm.vmin, shown.norm.vmax) for shown in shared} == {(rho.min(), rho.max())}
    each = maps(plot.figure(ds, colours="each"))[1]
    assert [shown.norm.vmax for shown in each] == [frame.max() for frame in rho]
    figure = plot.figure(ds, colours="log")
    for shown in maps(figure)[1]:
        assert isinstance(shown.norm, LogNorm)
        assert shown.norm.vmin == pytest.approx(1e-6 * rho.max(), rel=1e-15)
        assert shown.norm.vmax == rho.max()
    assert bar(figure).get_ylabel() == f"rho (logarithmic, cut at {1e-6 * rho.max():.1e})"
    above = ds.assign(rho=ds.rho.clip(min=1e-3))
    assert bar(plot.figure(above, colours="log")).get_ylabel() == "rho (logarithmic)", "nothing is cut"
    with pytest.raises(CaseError, match="a logarithmic scale needs positive values"):
        plot.figure(ds.assign(rho=-ds.rho), colours="log")


def test_a_logarithmic_profile_is_cut_where_it_says():
    ds = ou(1, 40).run()
    panel = plot.figure(ds, colours="log").axes[0]
    low = 1e-6 * float(ds.rho.max())
    assert panel.get_yscale() == "log"
    assert panel.get_ylim()[0] == pytest.approx(low, rel=1e-12)
    assert panel.get_ylabel() == f"rho (logarithmic, cut at {low:.1e})"


def test_no_seams_between_cells():
    """A constant density has one colour all over the mesh."""
    case = Case.read("cases/disc-ou.yaml").replace({"initial": {"kind": "uniform"}, "exact": None, "checks": {}})
    figure = plot.figure(case.replace({"times": {"end": 0.1, "step": 0.1}}).run(), frames=[0])
    FigureCanvasAgg(figure).draw()
    picture = np.asarray(figure.canvas.buffer_rgba())
    (panel,), (shown,) = maps(figure)
    assert isinstance(shown, PolyCollection)
    (left, low), (right, high) = panel.transData.transform([[-3.4, -3.4], [3.4, 3.4]]).round().astype(int)
    inside = picture[len(picture) - high : len(picture) - low, left:right].reshape(-1, 4)
    assert len(inside) > 10_000
    assert len(np.unique(inside, axis=0)) == 1


# geodesics


@pytest.mark.parametrize("mesh", ["box", "voronoi"])
def test_a_geodesic_shows_its_distance_and_its_velocity(mesh):
    """A translation by (0.3, 0.2): W2 is its length, and so are the arrows, where there is mass."""
    density = {"kind": "gaussian", "covariance": [[0.02, 0], [0, 0.02]], "truncate": 0.05}
    flow = {"kind": "transport", "intervals": 4, "target": {**density, "mean": [0.65, 0.6]}, "accept": True}
    grid = {"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [20, 20]}
    if mesh == "voronoi":
        flow["solver"] = {"kind": "interior-point"}
        grid = {"kind": "voronoi", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "cells": [12, 12]}
    ds = Case.parse(json.dumps({"mesh": grid, "flow": flow, "initial": {**density, "mean": [0.35, 0.4]}})).run()
    figure = plot.figure(ds, frames=[0, 2])
    note = figure.get_suptitle().splitlines()[1]
    assert note.startswith(distance_note(ds))
    panels, _ = maps(figure)
    arrows = [found for panel in panels for found in panel.get_children() if isinstance(found, Quiver)]
    assert len(arrows) == 2
    speed = np.concatenate([np.hypot(each.U, each.V) for each in arrows])
    assert float(re.search(r"at most ([\d.]+)", note)[1]) == pytest.approx(speed.max(), rel=5e-3)
    middle = arrows[1]
    assert 10 < middle.N <= 100
    off = np.hypot(middle.X - 0.5, middle.Y - 0.5)
    assert off.max() < np.sqrt(-2 * 0.02 * np.log(0.01)) + 0.1, "none where the density is below 1 % of its maximum"
    near = off < 0.15
    np.testing.assert_allclose(np.stack([middle.U, middle.V])[:, near].mean(axis=1), [0.3, 0.2], atol=0.03)
    assert middle.scale == pytest.approx(arrows[0].scale), "one scale for all panels"


@pytest.mark.parametrize("width", [0.3, 1e-2, 3e-4, 7e-6, 1e-9, 0.0])
def test_the_interval_of_a_distance_is_rounded_outwards(width):
    import xarray

    for low in (0.0, 0.123456789, 0.99999999, 12.3456789, 4321.987654):
        high = low * (1 + width)
        note = distance_note(xarray.Dataset({"w2": low, "w2_lower": low, "w2_upper": high}))
        w2, *ends = map(float, re.fullmatch(r"W2 = ([\d.]+), proved to lie in \[([\d.]+), ([\d.]+)\]", note).groups())
        assert ends[0] <= low <= high <= ends[1]
        assert ends[1] - ends[0] <= 1.3 * max(high - low, 1e-5 * high) + 1e-15
        assert abs(w2 - low) <= 1e-5 * low + 0.1 * width * low


def test_a_line_has_no_arrows():
    case = Case.read("cases/transport-mixture-1d.yaml").replace({"mesh.cells": [32], "flow.intervals": 4, "checks": {}})
    ds = case.run()
    figure = plot.figure(ds)
    assert "arrows" not in figure.get_suptitle()
    assert f"W2 = {float(ds.w2):.4f}" in figure.get_suptitle()
    assert all(a < b for a, b in pairwise(line.get_alpha() for line in figure.axes[0].get_lines()))


# what a result says of itself


def test_results_say_what_is_drawn():
    ds = made(2, 8, {"kind": "spectrum", "epsilon": 0.5, "potential": "x**2", "count": 2})
    assert ds.attrs["drawn"] == "mode_1 mode_2"
    assert ds.mode_1.attrs["colours"] == "diverging"
    assert "colours" not in ds.rho.attrs
    assert plot.figure(made(1, 20, {"kind": "spectrum", "epsilon": 1, "count": 9}), colours="each").axes[6:] == []
    del ds.attrs["drawn"]
    assert maps(plot.figure(ds))[0][0].get_title() == "rho", "as in results that do not say it"


@pytest.mark.parametrize("mesh", ["grid", "tetrahedra"])
def test_the_section_shows_where_the_mass_is(mesh):
    """A spike near the lowest wall; a density all over is shown half-way."""
    cells = "{kind: box, lower: [0, 0, 0], upper: [1, 1, 1], cells: [4, 5, 6]}"
    if mesh == "tetrahedra":
        cells = "{kind: gmsh, file: cases/ball.msh, control_volumes: nodes, delaunay: true}"
    case = Case.parse(f"""
mesh: {cells}
flow: {{kind: fokker-planck, epsilon: 1}}
initial: {{kind: spike, at: [0.2, 0.3, {0.1 if mesh == "grid" else -0.8}]}}
times: {{end: 1.0e-5, step: 1.0e-5}}
""")
    spike = plot.figure(case.run())
    level = float(re.search(r"section z = (-?[\d.]+), where most of the mass is", spike.get_suptitle())[1])
    assert level == pytest.approx(1 / 12 if mesh == "grid" else -0.8, abs=0.01 if mesh == "grid" else 0.2)
    shown = [float(np.max(child.get_array())) for child in (panel.collections[0] for panel in maps(spike)[0])]
    assert min(shown) > 1.0
    flat = plot.figure(case.replace({"initial": {"kind": "uniform"}}).run())
    assert "where most" not in flat.get_suptitle()


def test_a_frame_is_drawn_once():
    times = np.linspace(0, 1, 11)
    for choice in (chosen(times, None, [0.3, 0.31]), chosen(times, [3, 3, -8], None)):
        assert choice.indices == [3]
        assert "frames asked for, 1 of them different" in choice.note
    assert chosen(times, [-1, 0], None).indices == [10, 0]
