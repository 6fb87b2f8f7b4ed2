"""Refinement studies: observed orders, published tables, estimated errors; and the sources of the methods."""

import csv
import dataclasses
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.messages import dataclasses_in, hints_of, kind_of
from fvflow.case.resolution import at_resolution
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.mesh import MeshKind, averaged
from fvflow.steppers import ImplicitEuler
from fvflow.studies.bibliography import SOURCES
from fvflow.studies.citations import KINDS
from fvflow.studies.orders import observed_orders, remaining
from fvflow.times import Times

OU = "cases/verify-ou.yaml"
SMALL = {"mesh.cells": [40], "times.step": 0.125}


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["verify", *map(str, arguments)])
    return ended.value.code


def test_orders_and_what_remains_of_a_sequence_that_is_known():
    h = [0.4, 0.2, 0.1, 0.05]
    values = [1.0 + 3.0 * size**2 for size in h]
    errors = [value - 1.0 for value in values]
    np.testing.assert_allclose(observed_orders(errors, h)[1:], 2.0)
    differences = [math.nan, *(a - b for a, b in pairwise(values))]
    left = remaining(differences, h, 2.0)
    assert left.estimate == pytest.approx(errors[-1])
    assert left.factor == 1.25
    assert remaining(differences, h, 1.0).factor == 3.0, "the order is not the declared one"
    assert remaining(differences, h, None).factor == 1.25, "four levels show one order"
    assert math.isnan(remaining([math.nan, 0.1, 0.2], h[:3], 2.0).estimate)


@pytest.mark.parametrize(("refine", "declared"), [("space", 2), ("time", 2), ("both", 2)])
def test_declared_orders_are_observed(refine, declared):
    study = fvflow.verify(Case.read(OU).replace(SMALL), 4, refine, seconds=math.inf)
    assert study.declared == declared
    assert abs(study.order - declared) <= 0.15
    assert not study.missed
    assert [level.power for level in study.levels] == [0, 1, 2, 3]
    assert study.by_error == (refine == "both")
    if refine == "both":
        assert study.remaining.estimate == pytest.approx(study.errors[-1], rel=0.1)
        variance = 0.4 * math.exp(-2) + 1 - math.exp(-2)
        left = study.numbers["mean_x2"]
        assert abs(left.values[-1] - (variance + math.exp(-2))) <= 1.25 * left.remaining.estimate


def test_first_order_in_time_beside_second_in_space():
    case = Case.read(OU).replace({**SMALL, "flow.stepper": {"kind": "implicit-euler"}})
    orders = {refine: fvflow.verify(case, 3, refine, seconds=math.inf).order for refine in ("space", "time", "both")}
    assert orders == {
        "space": pytest.approx(2, abs=0.15),
        "time": pytest.approx(1, abs=0.15),
        "both": pytest.approx(1, abs=0.15),
    }


TABLES = {  # the errors of the published LJKO code, from 100 squares, 10^2 squares, 56 triangles on
    "published-fokker-planck": (
        {"mesh.cells": [5, 5], "times": {"end": 0.25, "step": 0.05}},
        (1.424e-1, 5.750e-2, 2.476e-2),
    ),
    "published-porous-medium": ({}, (1.167e-2, 5.562e-3, 3.992e-3)),
    "published-triangles": ({}, (1.189e-1, 5.293e-2, 2.415e-2)),
}


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_by_one_command(name, tmp_path):
    changes, published = TABLES[name]
    settings = [part for path, value in changes.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    table = tmp_path / "t.csv"
    command(f"cases/{name}.yaml", "--levels", 3, "--seconds", 1e9, "-q", "-o", table, *settings)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    np.testing.assert_allclose([float(row["error_l1"]) for row in rows], published, rtol=0.02)
    assert table.with_suffix(".png").stat().st_size > 5000


def test_a_missed_order_is_told(tmp_path, capsys, monkeypatch):
    """A method that claims an order that it has not."""
    monkeypatch.setattr(ImplicitEuler, "order", 2)
    arguments = [OU, "--set", "flow.stepper={kind: implicit-euler}", "--set", "mesh.cells=[40]", "--seconds", 1e9]
    assert command(*arguments, "--in", "time", "--json", "-o", tmp_path / "t.csv") == 6
    told = json.loads(capsys.readouterr().out)
    assert told["missed"] is True
    assert told["declared"] == 2
    assert told["order"] == pytest.approx(1, abs=0.1)
    assert "3 times" in told["confidence"]


def test_the_table_of_every_case(tmp_path, capsys):
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "a.yaml").write_text(Case.read(OU).replace(SMALL).text)
    (folder / "b.yaml").write_text(Path("cases/sde-double-well.yaml").read_text())
    (folder / "c.yaml").write_text("mesh: 3")
    assert command("--all", folder, "--levels", 2, "-o", tmp_path / "all.csv") == 0
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert "ok" in rows[0]["verdict"]
    assert "not verified by refinement" in rows[1]["verdict"]
    assert rows[2]["verdict"].endswith("c.yaml:1:1: flow: is missing")
    assert "observed orders" in capsys.readouterr().out


def test_costly_levels_are_left_out_for_coarser_ones():
    study = fvflow.verify(Case.read(OU), 3, seconds=0.0)
    assert [level.power for level in study.levels] == [-2, -1, 0]
    assert any("left out: it would take about" in note for note in study.notes)


@pytest.mark.parametrize(
    ("case", "changes", "arguments", "sentence"),
    [
        (OU, {}, {"levels": 1}, "1 level tells no order"),
        (OU, {"exact": None, "checks": {}}, {"levels": 2}, "2 of the levels could be run, an order needs 3"),
        (OU, {}, {"refine": "spcae"}, "one of space, time, both"),
        (OU, {"flow.stepper": {"kind": "uniformisation"}}, {"refine": "time"}, "exact there"),
        ("cases/stationary-rotation.yaml", {}, {"refine": "time"}, "has no steps in time"),
        ("cases/sde-double-well.yaml", {}, {}, "by chance"),
        ("cases/flow-map-ou.yaml", {}, {}, "integrator.tolerance"),
        ("cases/voronoi-two-wells.yaml", {"mesh": {"kind": "voronoi", "lower": [0, 0], "upper": [1, 1],
         "points": [[0.2, 0.2], [0.7, 0.5]]}}, {}, "given points cannot be refined"),
    ],
)  # fmt: skip
def test_what_cannot_be_verified_is_refused(case, changes, arguments, sentence):
    with pytest.raises(CaseError, match=re.escape(sentence)) as refused:
        fvflow.verify(Case.read(case).replace(changes), **arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("arguments", [(), (OU, "--all", "cases")])
def test_a_case_or_a_folder(arguments):
    assert command(*arguments) == 2


def test_files_of_other_names_are_refused(tmp_path):
    assert command(OU, "-o", tmp_path / "t.txt") == 5
    assert command("--all", tmp_path) == 5


def test_means_over_coarser_cells_keep_the_mass():
    fine, coarse = (fvflow.Box(lower=(0, 0), upper=(1, 2), cells=cells).build() for cells in ((9, 7), (5, 4)))
    values = np.random.default_rng(0).random(fine.cells)
    assert coarse.volume @ averaged(fine, coarse, values) == pytest.approx(fine.volume @ values)
    np.testing.assert_allclose(averaged(fine, coarse, np.ones(fine.cells)), 1.0)


# error estimates


ESTIMATED = {  # closed forms of every family that are smooth, or nearly so
    "ou": (OU, {}),
    "moving": ("cases/moving-trap-1d.yaml", {"mesh.cells": [100], "times.step": 0.05}),
    "rotating": ("cases/ou-2d-rotating.yaml", {"mesh.cells": [40, 40], "times": {"end": 0.5, "step": 0.05}}),
    "heat": ("cases/heat-box-2d.yaml", {"mesh.cells": [20, 10], "times": {"end": 1, "step": 0.05}}),
    "slope": ("cases/published-fokker-planck.yaml", {"mesh.cells": [20, 20], "times": {"end": 0.25, "step": 0.0125}}),
    "ljko": ("cases/ou-1d-jko.yaml", {}),
    "midpoint": ("cases/ou-1d-midpoint.yaml", {"mesh.cells": [120], "times": {"end": 1, "step": 0.05}}),
    "attraction": ("cases/aggregation-diffusion-1d.yaml", {"mesh.cells": [120], "times": {"end": 1, "step": 0.05}}),
    "front": ("cases/porous-medium-1d-midpoint.yaml", {"mesh.cells": [200], "times": {"end": 0.01, "step": 2e-4}}),
    "exact in time": ("cases/geometry-ou-curve.yaml", {"mesh.cells": [40, 40], "output": {}}),
}


@pytest.mark.parametrize("name", ESTIMATED)
def test_estimated_errors_are_within_a_factor_of_two(name):
    file, changes = ESTIMATED[name]
    ds = Case.read(file).replace({**changes, "output.error-estimate": True}).run()
    assert 0.5 <= ds.attrs["estimated_error_l1"] / ds.attrs["error_l1"] <= 2.0
    assert 0.5 <= float(ds.estimated_error_l2[-1] / ds.error_l2[-1]) <= 2.0


def test_the_error_of_numbers_has_a_sign():
    """E[x^2] of an Ornstein-Uhlenbeck process, and its energy: extrapolated they are nearer by far."""
    ds = Case.read(OU).run()
    exact = 0.4 * math.exp(-2) + 1 - math.exp(-2) + math.exp(-2)
    error, estimate = float(ds.mean_x2[-1]) - exact, ds.attrs["estimated_error_mean_x2"]
    assert abs(error - estimate) < 0.1 * abs(error)
    fine = Case.read(OU).replace({"mesh.cells": [1280], "times.step": 0.0625 / 16, "output": {}}).run()
    error, estimate = float(ds.energy[-1] - fine.energy[-1]), ds.attrs["estimated_error_energy"]
    assert abs(error - estimate) < 0.1 * abs(error)
    assert {"estimated_error_variance_x2", "estimated_error_linf"} <= set(ds)


@pytest.mark.parametrize(
    ("flow", "figure", "exact", "remains"),
    [
        ("first-passage, target: [{wall: left}, {wall: right}]", "mean_first_passage_time", 4 / 6, 0),
        ("spectrum, count: 2", "rate_1", math.pi**2 / 8, 0.01),
        ("quasi-stationary, target: {wall: left}", "quasi_stationary_rate", math.pi**2 / 32, 0.01),
    ],
    ids=["first-passage", "spectrum", "quasi-stationary"],
)
def test_figures_that_converge_are_extrapolated(flow, figure, exact, remains):
    """Of a box of length 2; the error of the mean time from a uniform density is h^2/(6 eps), and no more."""
    document = f"mesh: {{kind: box, lower: [0], upper: [2], cells: [40]}}\nflow: {{epsilon: 0.5, kind: {flow}}}\n"
    document += "initial: {kind: uniform}\n" if "first" in flow else ""
    ds = Case.parse(document + "output: {error-estimate: true}\n").run()
    error, estimate = ds.attrs[figure] - exact, ds.attrs[f"estimated_error_{figure}"]
    assert error == pytest.approx(estimate, rel=remains, abs=1e-12)
    assert abs(error) > 1e-5


def test_times_that_the_coarser_run_does_not_meet():
    """One step between saves: steps twice as long meet every second of them, and the end."""
    times = {"end": 0.5, "step": 0.1, "save": 0.1}
    ds = Case.read(OU).replace({"times": times}).run()
    np.testing.assert_array_equal(np.isnan(ds.estimated_error_l1), [False, True, False, True, False, False])


def test_the_error_of_an_infinite_energy_is_infinite():
    """tr-bdf2 in a steep bowl: densities below 0, at both resolutions."""
    steep = {"flow.potential": "1e6*x**2/2", "flow.stepper": {"kind": "tr-bdf2"}, "initial.truncate": 0.9}
    steep["times"] = {"end": 0.5625, "step": 0.0625, "save": 0.125}
    ds = Case.read(OU).replace(steep | {"exact": None, "checks": {}}).run()
    assert ds.minimum[-1] < 0
    assert math.isinf(ds.energy[-1])
    assert ds.attrs["estimated_error_energy"] == math.inf


def test_a_run_under_error_control_is_estimated():
    step = {"initial": 0.01, "tolerance": 1e-5}
    ds = Case.read(OU).replace({"times.step": step, "mesh.cells": [160]}).run()
    assert 0.5 <= ds.attrs["estimated_error_l1"] / ds.attrs["error_l1"] <= 2.0


def test_a_resumed_run_has_the_same_estimates(tmp_path):
    def stop(state):
        if state.time > 0.6:
            raise KeyboardInterrupt

    case = Case.read(OU).replace({"output.checkpoint": {"steps": 3}})
    with pytest.raises(KeyboardInterrupt):
        case.write(tmp_path / "r.nc", stop)
    fvflow.resume(tmp_path / "r.nc")
    whole = case.run()
    with fvflow.read(tmp_path / "r.nc") as ds:
        for name in (name for name in ds if str(name).startswith("estimated_error")):
            np.testing.assert_array_equal(ds[name], whole[name])
        assert ds.attrs["estimated_error_l1"] == whole.attrs["estimated_error_l1"]


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        (OU, {"output": {"error_estimate": True}}, 'did you mean "error-estimate"?'),
        ("cases/transport-translation-2d.yaml", {}, "declares no order"),
        ("cases/sde-double-well.yaml", {}, "by chance"),
        ("cases/published-triangles.yaml", {}, "cannot be coarsened below the file"),
        (OU, {"initial.covariance": [[0.0015]]}, "needs a run at half the resolution"),
    ],
)
def test_estimates_that_are_impossible_are_refused(file, changes, sentence):
    with pytest.raises(CaseError, match=re.escape(sentence)):
        Case.read(file).replace({"output.error-estimate": True, **changes}).prepare()


def test_a_case_without_the_key_is_as_before():
    case = Case.read(OU)
    with_it, without = case.run(), case.replace({"output": {}}).run()
    for name in without:
        np.testing.assert_array_equal(with_it[name], without[name])
    assert not any(str(name).startswith("estimated") for name in without)


@pytest.mark.parametrize("kind", get_args(MeshKind), ids=lambda kind: kind.__name__)
def test_coarsened_meshes_undo_refinement(kind):
    line = {"lower": (0.0,), "upper": (1.0,), "cells": (6,)}
    made = {
        "Box": lambda: kind(**line),
        "FiPyMesh": lambda: kind(**line),
        "Graded": lambda: kind(**line, ratio=(2.0,)),
        "Radial": lambda: kind(inner=0.0, outer=1.0, cells=6, dimension=2),
        "Gmsh": lambda: kind(file="a.geo"),
        "Meshio": lambda: kind(file="a.vtu"),
        "Ugrid": lambda: kind(file="a.nc"),
        "Voronoi": lambda: kind(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(6, 6)),
    }[kind.__name__]()
    if kind.__name__ == "Ugrid":
        with pytest.raises(CaseError, match="cannot be coarsened"):
            made.coarsened()
    else:
        assert made.refined(2).coarsened(2) == made


def test_steps_of_another_length():
    times = Times(end=1.0, step=0.01, save=0.1)
    assert (times.in_steps(2.0, 1).substeps(1), times.in_steps(0.5, 1).substeps(1)) == (5, 20)
    assert Times(end=1.0, step=0.1, save=0.1).in_steps(4.0, 1).save_times == (0.0, 0.4, 0.8, 1.0)
    assert at_resolution(Case.read(OU), 1, 0.5).times.steps == 32


# sources


def test_every_kind_has_its_sources():
    """And each is one that the docstrings give, by its first author and year."""
    kinds = {cls.__name__ for cls in _dataclasses(Case, set()) if kind_of(cls)}
    assert len(kinds) > 80
    assert kinds == set(KINDS) - {"Adaptive", "Integrator"}
    docs = " ".join(" ".join(file.read_text().split()) for file in Path("fvflow").rglob("*.py")
                    if file.name != "bibliography.py")  # fmt: skip
    for source in SOURCES.values():
        pattern = rf"{source.authors[0].removesuffix(' et al.')}\b[^;]{{0,260}}{source.year}"
        assert re.search(pattern, docs), source.text
    used = {key for keys in KINDS.values() for key in keys} | {"fehrenbach2014", "richardson1927"}
    assert used == set(SOURCES) - {"roache1994"}


def _dataclasses(cls, seen):
    """Every dataclass that a case may hold."""
    for hint in hints_of(cls).values():
        for inner in set(dataclasses_in(hint)) - seen:
            seen.add(inner)
            _dataclasses(inner, seen)
    return seen


def test_the_sources_of_a_case(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["cite", "cases/ou-1d-jko.yaml", "-o", str(tmp_path / "refs.bib")])
    assert ended.value.code == 0
    assert "flow.stepper ljko: Cances, Gallouet, Todeschi" in capsys.readouterr().out
    entries = re.findall(r"^@(\w+)\{(\w+),\n((?:  \w+ = \{.*\},\n)+)\}$", (tmp_path / "refs.bib").read_text(), re.M)
    found = {key: kind for kind, key, _ in entries}
    assert found == {"fvflow": "misc", "cances2020": "article", "eymard2000": "book", "george1973": "article",
                     "mehrotra1992": "article", "vanloan1978": "article"}  # fmt: skip
    assert "{Numer. Math.}" in {key: text for _, key, text in entries}["cances2020"]
    with pytest.raises(SystemExit) as ended:
        main(["cite", OU, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["parts"]["flow.stepper.solver tridiagonal"] == ["grassmann1985"], "what auto chooses on a line"
    assert told["parts"]["output.error-estimate"] == ["richardson1927"]


def test_kinds_of_a_user_are_named():
    @dataclasses.dataclass(frozen=True)
    class Own(ImplicitEuler):
        kind: str = "own"

    case = Case.read(OU)
    flow = type(case.flow)(epsilon=1.0, stepper=Own())
    assert fvflow.cite(dataclasses.replace(case, flow=flow)).unknown == ("flow.stepper own",)


@pytest.mark.parametrize(("wall", "told"), [(2.0, True), (8.0, False)])
def test_what_of_a_closed_form_is_outside_the_mesh_is_told_where_it_matters(wall, told):
    """N(0, 0.3) spreads to N(0, 0.3 + 2 eps t)."""
    case = Case.parse(
        f"mesh: {{kind: box, lower: [-{wall}], upper: [{wall}], cells: [40]}}\n"
        "flow: {kind: fokker-planck, epsilon: 1}\nexact: {kind: gaussian}\ntimes: {end: 0.5, step: 0.05}\n"
        "initial: {kind: gaussian, mean: [0], covariance: [[0.3]]}\n"
    )
    simulation = case.prepare()
    list(simulation.frames())
    sentences = [each for each in simulation.remarks() if "of the closed form is outside the mesh" in each]
    share = 100 * math.erfc(wall / math.sqrt(2 * 1.3))
    assert [float(each.split(" %")[0]) for each in sentences] == ([float(f"{share:.2g}")] if told else [])


def test_a_front_within_its_box_is_not_outside_whatever_its_quadrature():
    def outside(wall, time):
        case = Case.read("cases/porous-high-m.yaml").replace({"mesh.lower": [-wall], "mesh.upper": [wall]})
        reference = case.replace({"mesh.cells": [30]}).prepare().reference
        return reference.outside(reference.mesh, time)

    assert outside(1.1, 1.0) == 0.0
    assert outside(1.0, 1.0) == pytest.approx(0.00568, rel=0.05)
    assert outside(1.0, 0.5) == 0.0
