"""Pictures: what they show, and that all kinds of results have one."""

import pytest
from matplotlib.figure import Figure

from fvflow import plot
from fvflow.case import Case
from fvflow.errors import CaseError, OutputError
from tests.scenes import ou


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
