"""The weak residual of stored results and of other densities, and the mass balance of sets of cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError, NumericsError, OutputError
from fvflow.mesh import Box, openings
from fvflow.weak_form import Moments, functions_of

OU = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [120]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2, stepper: {kind: uniformisation}}
initial: {kind: gaussian, mean: [1], covariance: [[0.5]], sampling: centre}
times: {end: 1, step: 0.025, save: 0.025}
output: {fluxes: true}
"""
ESCAPE = """
mesh: {kind: box, lower: [-1, -1], upper: [1, 1], cells: [20, 16], periodic: [y]}
flow: {kind: fokker-planck, epsilon: 0.4, tilt: [0.5, 1], stepper: {kind: split-crank-nicolson}}
initial: {kind: gaussian, mean: [0, 0.3], covariance: [[0.05, 0], [0, 0.05]]}
walls: {right: absorbing}
times: {end: 0.5, step: 0.02, save: [0.1, 0.3]}
output: {fluxes: true}
"""


def ou(**changes):
    return Case.parse(OU).replace({name.replace("__", "."): value for name, value in changes.items()})


def test_with_mean_fluxes_the_residual_is_round_off():
    found = fvflow.residual(ou().run())
    assert found.residual["flux_mean"].max() <= 2e-15
    assert found.balance <= 1e-14
    assert found.change.max() > 0.1, "it is not round-off because nothing happens"


def test_from_frames_the_order_is_that_of_the_rule():
    """The run is exact in time, so that all of the residual is that of the integral over time."""
    found = fvflow.residual(ou(output={}).run())
    assert set(found.residual) == {"trapezoid", "simpson"}
    assert np.isnan(found.balance)
    worst = {rule: each[1:].max() for rule, each in found.residual.items()}
    assert worst["trapezoid"] == pytest.approx(3.1e-5, rel=0.05)
    assert worst["simpson"] == pytest.approx(4.5e-9, rel=0.05)
    np.testing.assert_allclose(found.order["trapezoid"][1:], 2, atol=0.1)
    np.testing.assert_allclose(found.order["simpson"][1:], 4, atol=0.1)
    for rule, residual in found.residual.items():
        assert residual[0] <= 1e-15 * 40, f"mass, by {rule}"


def test_a_run_of_first_order_has_its_own_error_in_the_residual():
    first, second = (
        fvflow.residual(ou(flow__stepper={"kind": "implicit-euler"}, times__step=step, output={}).run())
        for step in (0.025, 0.0125)
    )
    ratio = first.residual["simpson"][1:] / second.residual["simpson"][1:]
    np.testing.assert_allclose(ratio, 2, atol=0.1)


def test_simpson_is_exact_for_rates_that_are_quadratic_in_time():
    time = np.array([0.0, 0.3, 0.5, 1.4, 2.0, 2.7])
    rate, content = 1 - 2 * time + 3 * time**2, time - time**2 + time**3
    moments = Moments(time, content[:, None], rate[:, None])
    assert moments.by_interval("simpson").shape == (2, 1), "the last interval has no other beside it"
    np.testing.assert_allclose(moments.by_interval("simpson"), 0, atol=1e-14)
    assert moments.largest("trapezoid") > 0.1
    assert np.isnan(moments.order("trapezoid")), "intervals differ"
    linear = Moments(time, (time - time**2)[:, None], (1 - 2 * time)[:, None])
    np.testing.assert_allclose(linear.by_interval("trapezoid"), 0, atol=1e-14)


@pytest.mark.parametrize(
    "text",
    [
        ESCAPE,
        OU.replace("uniformisation", "muscl").replace("save: 0.025", "save: 0.1"),
        """
mesh: {kind: box, lower: [-3], upper: [3], cells: [40]}
flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2}]}
initial: {kind: gaussian, mean: [1], covariance: [[0.1]]}
times: {end: 0.4, step: 0.1}
output: {fluxes: true}
""",
    ],
)
def test_every_flow_that_stores_mean_fluxes_has_a_residual_of_round_off(text):
    ds = Case.parse(text).run()
    found = fvflow.residual(ds)
    assert found.residual["flux_mean"].max() <= 1e-14
    assert found.balance <= 1e-14
    assert all(np.isfinite(each).all() for each in found.residual.values())
    off = ds.copy(deep=True)
    off.flux_mean[1, ds.sizes["face"] // 2] += 1e-3
    assert fvflow.residual(off).residual["flux_mean"].max() > 1e-6, "a wrong flux is seen"


def test_a_geodesic_is_tested_by_its_momentum():
    ds = Case.read("cases/transport-gaussians-2d.yaml").replace({"mesh.cells": [12, 12], "checks": {}}).run()
    found = fvflow.residual(ds)
    assert list(found.residual) == ["flux_mean"]
    assert found.residual["flux_mean"].max() <= max(10 * ds.attrs["continuity"], 1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"functions": ["x"]}, r"^functions is \['x'\]; give them by name, such as \{'slope': 'x'\}$"),
        ({"where": "x > 0"}, r"^where is 'x > 0'; give a list of conditions, such as \['x > 0'\]$"),
        ({"where": 3}, "^where is 3; give a list"),
    ],
)
def test_functions_have_names_and_conditions_are_a_list(given, message):
    with pytest.raises(CaseError, match=message):
        fvflow.residual(model(), case=ou(), **given)


def test_a_result_without_either_is_refused():
    case = Case.read("cases/hamilton-jacobi-1d.yaml")
    with pytest.raises(CaseError, match="no mean fluxes, and flow hamilton-jacobi has no rate"):
        fvflow.residual(case.run())


def test_the_bank_respects_walls_and_periods():
    mesh = Box((-1.0, 0.0), (1.0, 3.0), (40, 30), periodic=("y",)).build()
    found = functions_of(mesh, None)
    assert list(found)[:4] == ["1", "x", "x^2", "x^3"]
    assert not {"y", "x y"} & set(found), "a polynomial has a jump where a period ends"
    np.testing.assert_allclose(found["sin 2 pi y"], np.sin(2 * np.pi * mesh.centre[:, 1] / 3), atol=1e-14)
    bank = functions_of(mesh, openings(mesh, {"left": np.inf}, {"A": mesh.centre[:, 0] > 0.8}))
    bumps = set(bank) - set(found)
    assert bumps == {"bump", "narrow bump"}
    for name in bumps:
        assert bank[name].max() == pytest.approx(1)
        assert not bank[name][(mesh.centre[:, 0] < -0.97) | (mesh.centre[:, 0] > 0.75)].any()


def test_the_mass_of_a_set_changes_by_what_crosses_its_faces():
    ds = Case.parse(ESCAPE).run()
    for where in ("x > 0.2", "(x > 0.5) * (abs(y) < 0.5)", np.random.default_rng(1).random((16, 20)) < 0.4):
        found = fvflow.balance(ds, where)
        assert np.abs(found.defect).max() <= 3e-15
        np.testing.assert_allclose(np.diff(found.mass), found.inflow - found.absorbed, atol=3e-15)
    whole = fvflow.balance(ds, "1")
    np.testing.assert_array_equal(whole.inflow, 0)
    np.testing.assert_allclose(np.cumsum(whole.absorbed), ds.absorbed_right[1:], rtol=1e-13)
    assert fvflow.balance(ds, "x < 0").absorbed.max() == 0


def test_what_has_no_balance_is_refused():
    ds = Case.parse(ESCAPE).replace({"output": {}}).run()
    with pytest.raises(CaseError, match=r"no mean fluxes .*output: \{fluxes: true\}"):
        fvflow.balance(ds, "x > 0")
    ds = Case.parse(ESCAPE).run()
    with pytest.raises(CaseError, match="the mask has 20 values, the mesh 320 cells"):
        fvflow.balance(ds, np.ones(20, bool))
    with pytest.raises(CaseError, match="depends on t"):
        fvflow.balance(ds, "x > t")


def model(cells=120, time=None, mean=1.0, decay=1.0):
    """The closed form of `OU` on a grid, as a network might give it."""
    x = (np.arange(cells) + 0.5) / cells * 12 - 6
    time = np.linspace(0, 1, 41) if time is None else time
    m, s = mean * np.exp(-decay * time)[:, None], (1 - 0.5 * np.exp(-2 * time))[:, None]
    rho = np.exp(-((x - m) ** 2) / (2 * s)) / np.sqrt(2 * np.pi * s)
    return xarray.Dataset({"rho": (("time", "x"), rho)}, {"time": time, "x": x})


def test_densities_of_a_model_are_tested_by_the_equation_of_a_case():
    coarse, fine = (
        fvflow.residual(model(cells), case=ou(mesh__cells=[cells])).residual["simpson"].max() for cells in (60, 120)
    )
    assert fine <= 8e-4
    assert coarse / fine == pytest.approx(4, rel=0.1), "of second order in space"
    wrong = fvflow.residual(model(decay=1.1), case=ou())
    assert wrong.residual["simpson"].max() > 10 * fine


@pytest.mark.parametrize(
    ("ds", "message"),
    [
        (model(60), r"rho has the shape \(60,\) at each time, the mesh of the case \(120,\)"),
        (model().assign_coords(x=model().x + 0.01), "x of the dataset is not that of the mesh"),
        (model(time=np.array([0.0, 0.5, 0.5])), "3 times of the dataset have to be two at least, finite and ascending"),
        (model().isel(time=[0]), "1 times"),
        (model().rename(rho="density"), "has no rho"),
    ],
)
def test_densities_that_do_not_fit_the_case_are_refused(ds, message):
    with pytest.raises(CaseError, match=message):
        fvflow.residual(ds, case=ou())


def test_densities_need_a_case_and_values():
    with pytest.raises(CaseError, match="has no case, so that its equation is not known"):
        fvflow.residual(model())
    broken = model()
    broken.rho[3, 5] = np.nan
    with pytest.raises(NumericsError, match=r"rho is not finite at t = 0\.075"):
        fvflow.residual(broken, case=ou())
    negative = model()
    negative.rho[3, 5] = -1e-3
    energies = [{"kind": "entropy", "epsilon": 1}, {"kind": "potential", "potential": "0.5*x**2"}]
    jko = ou(flow={"kind": "gradient-flow", "energy": energies})
    with pytest.raises(NumericsError, match=r"d_t rho is not finite at t = 0\.075, where the least rho is -0\.001"):
        fvflow.residual(negative, case=jko)
    assert fvflow.residual(model(), case=jko).residual["simpson"].max() <= 8e-4


def command(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["residual", *map(str, words)])
    return ended.value.code, capsys.readouterr()


def test_the_command_tells_a_table_or_json(tmp_path, capsys):
    ou().write(tmp_path / "r.nc")
    code, told = command(capsys, tmp_path / "r.nc", "--where", "x > 0")
    assert code == 0
    lines = told.out.splitlines()
    assert ["phi", "change", "flux_mean", "trapezoid", "(order)", "simpson", "(order)"] in [
        line.split() for line in lines
    ]
    assert any(line.strip().startswith("x > 0") for line in lines)
    assert "50 random sets of cells" in lines[-1]
    assert "(4.0)" in told.out
    code, told = command(capsys, tmp_path / "r.nc", "--function", "x**4", "--json")
    found = json.loads(told.out)
    assert (code, list(found["functions"])) == (0, ["x**4"])
    assert found["worst"]["flux_mean"] <= 1e-15
    assert found["balance_of_random_sets"] <= 1e-14


def test_the_command_takes_files_of_other_programs(tmp_path, capsys):
    (tmp_path / "ou.yaml").write_text(OU)
    ds = model()
    ds.to_netcdf(tmp_path / "model.nc")
    np.savez(tmp_path / "model.npz", rho=ds.rho, time=ds.time, x=ds.x)
    for name in ("model.nc", "model.npz"):
        code, told = command(capsys, tmp_path / name, "--case", tmp_path / "ou.yaml", "--json")
        assert code == 0
        assert json.loads(told.out)["worst"]["simpson"] <= 8e-4
        code, told = command(capsys, tmp_path / name)
        assert (code, "has no case" in told.err) == (CaseError.exit_code, True)
    np.savez(tmp_path / "half.npz", rho=ds.rho)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:200])
    for name, message in (("half.npz", "no rho or no time"), ("torn.npz", "cannot be read"), ("none.nc", "cannot be")):
        code, told = command(capsys, tmp_path / name, "--case", tmp_path / "ou.yaml")
        assert (code, message in told.err) == (OutputError.exit_code, True), told.err
