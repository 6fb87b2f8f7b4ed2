"""Pictures of paths over a density: the lines are the paths, and pass no joined ends."""

import numpy as np
import pytest

from fvflow import plot
from fvflow.case import Case
from fvflow.errors import CaseError

LINE = """
mesh: {kind: box, lower: [0], upper: [1], cells: [8]}
flow: {kind: fokker-planck, epsilon: 0.1}
initial: {kind: expression, density: 1 + x}
times: {end: 0.2, step: 0.1, save: 0.1}
title: a line
"""
PLANE = LINE.replace("[0], upper: [1], cells: [8]", "[0, 0], upper: [1, 2], cells: [8, 4]")
PATHS = np.random.default_rng(0).uniform(size=(3, 5, 2))


def drawn(figure):
    """The lines, and the points where they begin and end."""
    lines, start, end = figure.axes[0].collections[-3:]
    return lines.get_segments(), start.get_offsets(), end.get_offsets()


def test_paths_in_the_plane_are_drawn_as_they_are():
    figure = plot.trajectories(Case.parse(PLANE).run(), PATHS, frame=0)
    lines, start, end = drawn(figure)
    np.testing.assert_array_equal(lines, PATHS.swapaxes(0, 1))
    np.testing.assert_array_equal(start, PATHS[0])
    np.testing.assert_array_equal(end, PATHS[-1])
    assert figure.axes[0].get_title() == "a line"
    assert figure.axes[0].get_xlim() == (0.0, 1.0)


def test_paths_on_a_line_are_drawn_over_time():
    ds = Case.parse(LINE).run()
    for times in (None, [0.0, 0.05, 0.2]):
        lines, start, end = drawn(plot.trajectories(ds, PATHS[:, :, :1], times, title="paths"))
        np.testing.assert_allclose(np.array(lines)[:, :, 0], PATHS[:, :, 0].T)
        np.testing.assert_allclose(np.array(lines)[:, :, 1] - ([0.0, 0.1, 0.2] if times is None else times), 0)
        np.testing.assert_array_equal(start[:, 1], 0)
        np.testing.assert_array_equal(end[:, 1], 0.2)


def test_paths_are_broken_at_joined_ends():
    ds = Case.parse(PLANE.replace("cells: [8, 4]", "cells: [8, 4], periodic: [x]")).run()
    path = np.array([[0.8, 1.0], [0.95, 1.0], [0.1, 1.0], [0.3, 1.9], [0.3, 0.1]])[:, None]
    lines = drawn(plot.trajectories(ds, path))[0]
    assert [len(line) for line in lines] == [2, 3]


def test_of_many_paths_some_are_drawn():
    many = np.random.default_rng(0).uniform(size=(3, 5000, 2))
    lines = drawn(plot.trajectories(Case.parse(PLANE).run(), many))[0]
    assert len(lines) == 400


@pytest.mark.parametrize(
    ("text", "positions", "how", "message"),
    [
        (PLANE, PATHS[:, :, :1], {}, r"the positions have the shape \(3, 5, 1\); give \(time, point, 2\)"),
        (PLANE, PATHS[0], {}, r"shape \(5, 2\); give \(time, point, 2\)"),
        (PLANE, PATHS, {"frame": 3}, "the result has no frame 3; it has 3"),
        (LINE, PATHS[:, :, :1], {"times": [0.0, 1.0]}, "there are 2 times and positions at 3"),
        (
            LINE.replace("[0], upper: [1], cells: [8]", "[0, 0, 0], upper: [1, 1, 1], cells: [2, 2, 2]"),
            PATHS,
            {},
            "drawn in one and two dimensions; this result has three",
        ),
    ],
)
def test_positions_that_do_not_fit_are_refused(text, positions, how, message):
    with pytest.raises(CaseError, match=message):
        plot.trajectories(Case.parse(text).run(), positions, **how)


def test_paths_are_drawn_over_cells_of_any_shape(tmp_path):
    case = Case.parse(PLANE).replace({"mesh": {"kind": "voronoi", "lower": [0, 0], "upper": [1, 1], "cells": [4, 4]}})
    figure = plot.trajectories(case.run(), PATHS)
    figure.savefig(tmp_path / "p.png")
    np.testing.assert_array_equal(drawn(figure)[0], PATHS.swapaxes(0, 1))
