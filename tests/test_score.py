"""Scores of predictions: each metric against an independent computation, closed forms, noise, formats, bad input."""

import json
import re

import h5py
import numpy as np
import ot
import pytest
from scipy import stats

import fvflow
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.mesh import Box
from fvflow.studies.score import METRICS, Comparison
from fvflow.studies.score.predictions import DensityPrediction, SamplePrediction
from fvflow.studies.score.reference import Reference, moments_of
from fvflow.studies.score.transport import directions

LINE = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [48]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}
initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}
times: {end: 0.4, step: 0.01, save: 0.1}
output: {fluxes: true}
"""
PLANE = """
mesh: {kind: box, lower: [-5, -4], upper: [5, 4], cells: [28, 26]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2 + y**2}
initial: {kind: gaussian, mean: [1.5, -1], covariance: [[0.6, 0.2], [0.2, 0.5]]}
times: {end: 0.2, step: 0.02, save: 0.1}
"""
SQUARE = PLANE.replace("[28, 26]", "[24, 24]").replace("[-5, -4], upper: [5, 4]", "[-5, -5], upper: [5, 5]")


@pytest.fixture(scope="module")
def line():
    return Case.parse(LINE).run()


@pytest.fixture(scope="module")
def plane():
    return Case.parse(PLANE).run()


def compared(ds, shift=0.1, count=60, weights=None, frame=-1):
    """A comparison with samples of the reference, moved."""
    reference = Reference.of(ds)
    frame %= len(reference.times)
    points = reference.draw(frame, count, 77) + shift
    sets = {frame: WeightedSamples.of("samples", points, weights)}
    return Comparison(SamplePrediction("samples", reference, sets), reference, 1000, 3), frame


def in_benchmark_order(ds):
    """rho as (b, t, x[, y])."""
    values = ds.rho.values
    return values.transpose(0, *range(values.ndim - 1, 0, -1))[None]


# each metric is that of its community


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("which", ["line", "plane"])
def test_transport_costs_are_those_of_pot(which, weighted, request):
    ds = request.getfixturevalue(which)
    weights = np.random.default_rng(0).random(60) if weighted else None
    comparison, frame = compared(ds, weights=weights)
    clouds = comparison.clouds(frame)
    share = np.full(60, 1 / 60) if weights is None else weights / weights.sum()
    x, y, even = clouds.points, clouds.others, np.full(60, 1 / 60)
    euclidean, squared = ot.dist(x, y, "euclidean"), ot.dist(x, y)
    expected = {"w1": ot.emd2(share, even, euclidean), "w2": np.sqrt(ot.emd2(share, even, squared))}
    towards = directions(x.shape[1], comparison.seed)
    expected["sliced-w2"] = ot.sliced_wasserstein_distance(x, y, share, even, projections=towards)
    expected["emd-one-step"] = expected["w1"]
    for name, value in expected.items():
        assert METRICS[name].reading(comparison).value == pytest.approx(value, rel=1e-6), name


def test_w1_along_a_periodic_axis_takes_the_shorter_way():
    ring = LINE.replace("cells: [48]}", "cells: [48], periodic: [x]}").replace("0.5*x**2", "cos(pi*x/6)")
    comparison, frame = compared(Case.parse(ring).run(), shift=0.3)
    clouds = comparison.clouds(frame)
    away = np.abs(clouds.points - clouds.others.T) % 12
    cost = ot.emd2([], [], np.minimum(away, 12 - away))
    assert METRICS["w1"].reading(comparison).value == pytest.approx(cost, rel=1e-6)
    assert "periodic" in METRICS["mmd-rbf"].fault(comparison)


def test_kernels_are_the_published_ones(plane):
    """By loops over pairs, as the definitions say."""
    comparison, frame = compared(plane, count=30)
    x, y = (each.tolist() for each in (comparison.clouds(frame).points, comparison.clouds(frame).others))

    def squared(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))

    def dot(a, b):
        return sum(p * q for p, q in zip(a, b, strict=True))

    def mean(k, one, two):
        return sum(k(a, b) for a in one for b in two) / (len(one) * len(two))

    def mmd(k):
        return mean(k, x, x) + mean(k, y, y) - 2 * mean(k, x, y)

    def poly(one, two):
        return sum((dot(a, b) + 2) ** 2 for a, b in zip(one[:-1], two[1:], strict=True)) / (len(one) - 1)

    sigmas, gammas = (0.01, 0.1, 1, 10, 100), (2, 1, 0.5, 0.1, 0.01, 0.005)
    delta = np.array(x) - y
    expected = {
        "mmd-rbf": mmd(lambda a, b: sum(np.exp(-squared(a, b) / (2 * s**2)) for s in sigmas)),
        "mmd-gammas": np.mean([mmd(lambda a, b, g=g: np.exp(-g * squared(a, b))) for g in gammas]),
        "energy-distance": -mmd(lambda a, b: np.sqrt(squared(a, b))),
        "mmd-linear": np.mean([dot(delta[i], delta[i + 1]) for i in range(29)]),
        "mmd-poly": poly(x, x) + poly(y, y) - poly(x, y) - poly(y, x),
    }
    for name, value in expected.items():
        assert METRICS[name].reading(comparison).value == pytest.approx(value, rel=1e-6), name


def test_energy_distance_is_that_of_scipy(line):
    comparison, frame = compared(line)
    clouds = comparison.clouds(frame)
    expected = stats.energy_distance(clouds.points[:, 0], clouds.others[:, 0]) ** 2
    assert METRICS["energy-distance"].reading(comparison).value == pytest.approx(expected, rel=1e-6)


def test_bures_is_that_of_pot(plane):
    comparison, frame = compared(plane)
    points = comparison.clouds(frame).points
    mean, covariance = comparison.reference.moments(frame)
    distance = ot.gaussian.bures_wasserstein_distance(points.mean(axis=0), mean, np.cov(points.T), covariance)
    expected = 100 * distance**2 / np.trace(covariance)
    assert METRICS["bw2-uvp"].reading(comparison).value == pytest.approx(expected, rel=1e-6)


def benchmark_errors(pred, target):
    """The definitions of PDEBench for (b, x[, y]) at one time, with loops over modes and walls."""
    error, cells = pred - target, target[0].size
    flat = error.reshape(len(error), -1)
    norm = np.sqrt((target.reshape(len(error), -1) ** 2).mean(axis=1))
    found = {"rmse": np.sqrt((flat**2).mean(axis=1)).mean(), "max-error": np.abs(error).max()}
    found["nrmse"] = (np.sqrt((flat**2).mean(axis=1)) / norm).mean()
    found["crmse"] = np.sqrt((flat.sum(axis=1) ** 2).mean()) / cells
    if error.ndim == 2:
        found["boundary"] = np.sqrt((error[:, 0] ** 2 + error[:, -1] ** 2) / 2).mean()
        modes = np.sqrt((np.abs(np.fft.rfft(error)) ** 2).mean(axis=0)) / cells
    else:
        nx, ny = error.shape[1:]
        along_x = (error[:, 0] ** 2 + error[:, -1] ** 2).sum(axis=1)
        along_y = (error[:, :, 0] ** 2 + error[:, :, -1] ** 2).sum(axis=1)
        found["boundary"] = np.sqrt((along_x + along_y) / (2 * nx + 2 * ny)).mean()
        power, sums = np.abs(np.fft.fftn(error, axes=(1, 2))) ** 2, np.zeros((len(error), min(nx // 2, ny // 2)))
        for i in range(nx // 2):
            for j in range(ny // 2):
                shell = int(np.sqrt(i**2 + j**2))
                if shell < sums.shape[1]:
                    sums[:, shell] += power[:, i, j]
        modes = np.sqrt(sums.mean(axis=0)) / cells
    return found | {
        "fourier-low": modes[:4].mean(),
        "fourier-mid": modes[4:12].mean(),
        "fourier-high": modes[12:].mean(),
    }


def well_errors(pred, target):
    """The definitions of The Well for (b, x[, y]) at one time."""
    x, y = pred.reshape(len(pred), -1), target.reshape(len(pred), -1)
    square, eps = ((x - y) ** 2).mean(axis=1), 1e-7
    covariance = ((x - x.mean(axis=1, keepdims=True)) * (y - y.mean(axis=1, keepdims=True))).mean(axis=1)
    return {
        "nmse": (square / ((y**2).mean(axis=1) + eps)).mean(),
        "vrmse": np.sqrt(square / (y.std(axis=1, ddof=1) ** 2 + eps)).mean(),
        "pearson-r": (covariance / (x.std(axis=1, ddof=1) * y.std(axis=1, ddof=1) + eps)).mean(),
    }


@pytest.mark.parametrize("which", ["line", "plane"])
def test_fields_are_scored_as_the_benchmarks_do(which, request):
    """A batch of two, on 48 cells and on 28 x 26: mean over the times of what the benchmark gives at each."""
    ds = request.getfixturevalue(which)
    true = in_benchmark_order(ds)
    random = np.random.default_rng(1)
    predicted = true * (1 + 0.1 * random.standard_normal((2, *true.shape[1:])))
    steps = range(true.shape[1])
    both = np.concatenate([true, true])
    expected = [benchmark_errors(predicted[:, t], both[:, t]) | well_errors(predicted[:, t], both[:, t]) for t in steps]
    found = fvflow.score(predicted, ds, metrics=list(expected[0]))
    for name in expected[0]:
        assert found[name].value == pytest.approx(np.mean([each[name] for each in expected]), rel=1e-6), name
        assert found[name].told_apart


# closed forms


def gaussian(mean, variance):
    return lambda points, t: np.exp(-((points[:, 0] - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@pytest.fixture(scope="module")
def normal():
    """N(0, 1) on 960 cells, the equilibrium."""
    text = LINE.replace("[48]", "[960]").replace("mean: [1], covariance: [[0.5]]", "mean: [0], covariance: [[1]]")
    return Case.parse(text.replace("[-6], upper: [6]", "[-8], upper: [8]").replace("end: 0.4", "end: 0.1")).run()


def test_two_gaussians_against_closed_forms(normal):
    """N(m, s^2) of N(0, 1): KL, likelihood, W2 in the proved interval, Bures; the mesh is as fine as 1e-4."""
    m, s = 0.3, 1.2
    found = fvflow.score(gaussian(m, s**2), normal, metrics=["symmetric-kl", "log-likelihood", "bw2-uvp"], times=[0.1])
    kl = 0.5 * (1 / s**2 - 1 + m**2 / s**2) + 0.5 * (s**2 - 1 + m**2)
    assert found["symmetric-kl"].value == pytest.approx(kl, rel=1e-4)
    likelihood = -0.5 * np.log(2 * np.pi * s**2) - (1 + m**2) / (2 * s**2)
    assert found["log-likelihood"].value == pytest.approx(likelihood, rel=1e-4)
    assert found["log-likelihood"].noise.mean == pytest.approx(-0.5 * np.log(2 * np.pi * np.e), rel=1e-4)
    assert found["bw2-uvp"].value == pytest.approx(100 * (m**2 + (s - 1) ** 2), rel=1e-3)
    shift = fvflow.score(gaussian(m, 1.0), normal, metrics=["w2-interval"], times=[0.1])["w2-interval"]
    assert shift.reading.details["lower"] <= m * (1 + 1e-4)
    assert m * (1 - 1e-4) <= shift.value <= m * 1.02


def test_moments_are_exact_for_constant_cells():
    mesh = Box((0.0, 0.0), (2.0, 1.0), (1, 1)).build()
    mean, covariance = moments_of(mesh, np.ones(1))
    np.testing.assert_allclose(mean, [1.0, 0.5])
    np.testing.assert_allclose(covariance, np.diag([4 / 12, 1 / 12]), atol=1e-15)


@pytest.fixture(scope="module")
def steps():
    text = LINE.replace("[48]", "[300]").replace("end: 0.4", "end: 0.1").replace("mean: [1]", "mean: [1.5]")
    return Case.parse(text).run()


def test_the_functional_of_a_step_at_the_best_map_and_at_others(steps):
    """Gaussians: T, E and W2 in closed form, at quantiles; 1e-3 of F at its minimum, and the excess of a shift."""
    tau, mean, s = 0.1, 1.5, np.sqrt(0.5)
    x = mean + s * stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    m, r = mean / (1 + tau), np.max(np.roots([1 + tau, -s, -tau]).real)
    best = {"points": x, "images": m + r / s * (x - mean), "log_det": np.full(4000, np.log(r / s))}
    functional = (
        ((mean - m) ** 2 + (s - r) ** 2) / (2 * tau) + (m**2 + r**2) / 2 - 0.5 * np.log(2 * np.pi * np.e * r**2)
    )
    found = fvflow.score(best, steps)
    details = found["jko"].reading.details
    assert details["functional"] == pytest.approx(functional, abs=1e-3)
    assert details["minimum"] == pytest.approx(functional, abs=1e-4)
    assert not found["jko"].told_apart
    assert found["l2-uvp"].value < 0.05
    assert found["cosine"].value > 0.999
    moved = fvflow.score({**best, "images": best["images"] + 0.5}, steps)
    excess = (1 / tau + 1) * 0.5**2 / 2  # the functional is quadratic in a shift
    assert moved["jko"].value - found["jko"].value == pytest.approx(excess, rel=1e-6)
    assert moved["jko"].told_apart
    assert moved["l2-uvp"].value - 100 * 0.25 / np.trace(Reference.of(steps).moments(1)[1]) == pytest.approx(0, abs=3)


def test_maps_are_scored_against_the_flow(steps):
    x = fvflow.sample(steps, 200, time=0.0)
    true = fvflow.push(steps, x, 0.0, 0.1).points
    images = x + 0.5 * (true - x)
    found = fvflow.score({"points": x, "images": images}, steps, metrics=["l2-uvp", "cosine"])
    assert found["cosine"].value == pytest.approx(1.0, abs=1e-12)
    variance = np.trace(Reference.of(steps).moments(1)[1])
    assert found["l2-uvp"].value == pytest.approx(100 * 0.25 * ((true - x) ** 2).mean() / variance, rel=1e-9)


def test_the_equation_is_a_metric(line):
    """Weak form as `fvflow.residual`; a wrong velocity, a lost mass, an energy that rises and fluxes of others."""
    names = ["weak-residual", "energy-dissipation", "evi", "mass"]
    true = in_benchmark_order(line)
    good = fvflow.score(true, line, metrics=names)
    assert not any(score.told_apart for score in good.values())
    without = Case.parse(LINE.replace("output: {fluxes: true}\n", "")).run()
    assert good["weak-residual"].value == pytest.approx(fvflow.residual(without).residual["simpson"].max(), rel=1e-9)
    assert good["energy-dissipation"].value < 0.05
    assert good["evi"].value < 0
    backward = fvflow.score(true[:, ::-1], line, metrics=names)
    assert backward["energy-dissipation"].reading.details["largest_increase"] > 0
    assert backward["energy-dissipation"].value == pytest.approx(2, abs=0.1)
    assert backward["evi"].value > 0
    assert backward["weak-residual"].told_apart
    assert fvflow.score(0.9 * true, line, metrics=["mass"])["mass"].value == pytest.approx(0.1, rel=1e-9)
    arrays = {"rho": line.rho.values, "time": line.time.values, "flux_mean": line.flux_mean.values}
    assert fvflow.score(arrays, line, metrics=["continuity"])["continuity"].value < 1e-13
    arrays["flux_mean"] = 1.1 * arrays["flux_mean"]
    assert fvflow.score(arrays, line, metrics=["continuity"])["continuity"].told_apart


# noise


def test_perfect_samples_are_not_told_apart_and_a_shift_is(line):
    """Over 50 seeds: the level of 1 % in eight metrics, and the mean of perfect predictions."""
    reference = Reference.of(line)
    names = ["w1", "w2", "sliced-w2", "energy-distance", "mmd-rbf", "mmd-gammas", "bw2-uvp", "rmse"]
    scores = [
        fvflow.score({0.4: reference.draw(4, 60, 1000 + seed)}, line, metrics=names, seed=seed) for seed in range(50)
    ]
    for name in names:
        told = sum(each[name].told_apart for each in scores)
        assert told <= 4, f"{name}: {told} of 50"  # of 1 % more than 4 have a probability of 2e-4
        values, means = ([getattr(each[name], part) for each in scores] for part in ("value", "noise"))
        means = [each.mean for each in means]
        error = np.sqrt((np.var(values, ddof=1) + np.var(means, ddof=1)) / 50)
        assert abs(np.mean(values) - np.mean(means)) < 4 * error, name
    moved = fvflow.score({0.4: reference.draw(4, 1000, 5) + 0.5}, line, metrics=names)
    assert all(score.told_apart for score in moved.values())


def test_fewer_samples_are_compared_than_are_given(line):
    points = Reference.of(line).draw(4, 500, 1)
    found = fvflow.score(points, line, metrics=["w1"], samples=100)
    small = fvflow.score(points[:100], line, metrics=["w1"])
    assert found["w1"].noise == small["w1"].noise


def test_all_metrics_say_what_they_are():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition
        assert metric.source


# what a prediction may be


def written(folder, ds, kind):
    """The same prediction in a file of each kind, and how it is scored."""
    values, path = in_benchmark_order(ds), folder / f"p.{kind}"
    x, y, t = (ds[name].values for name in ("x", "y", "time"))
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, tensor=values, **{"x-coordinate": x, "y-coordinate": y, "t-coordinate": np.append(t, 9.0)})
    elif kind == "nc":
        ds.rho.transpose("time", "x", "y").to_dataset().to_netcdf(path)
    elif kind == "pdebench.h5":
        with h5py.File(path, "w") as file:
            file["0000/data"] = values[0, ..., None].astype(np.float32)
            for name, axis in {"x": x, "y": y, "t": t}.items():
                file[f"0000/grid/{name}"] = axis.astype(np.float32)
    else:
        with h5py.File(path, "w") as file:
            file["t0_fields/density"] = values.astype(np.float32)
            for name, axis in {"x": x, "y": y, "time": t}.items():
                file[f"dimensions/{name}"] = axis.astype(np.float32)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "nc", "pdebench.h5", "well.h5"])
def test_grids_in_files(kind, plane, tmp_path):
    found = fvflow.score(written(tmp_path, plane, kind), plane, metrics=["nrmse"])
    assert found.times == (0.0, 0.1, 0.2)
    assert found["nrmse"].value < 1e-6


@pytest.mark.parametrize("kind", ["npz", "csv", "h5", "npy"])
def test_samples_in_files(kind, plane, tmp_path):
    reference, path, labels = Reference.of(plane), tmp_path / f"s.{kind}", None
    points = np.concatenate([reference.draw(1, 40, 1), reference.draw(2, 50, 2)])
    times = np.repeat([0.1, 0.2], [40, 50])
    if kind == "npz":
        np.savez(path, pcs=points, sample_labels=times)
    elif kind == "csv":
        rows = "\n".join(f"{a!r},{b!r},{t!r}" for (a, b), t in zip(points.tolist(), times.tolist(), strict=True))
        path.write_text(f"x,y,time\n{rows}\n")
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["data"], file["labels"] = points, times.astype(np.float32)
    else:
        np.save(path, points)
        labels = tmp_path / "labels.npy"
        np.save(labels, (times * 10).round().astype(int))
    found = fvflow.score(path, plane, metrics=["w1"], labels=labels, times=[0.1, 0.2] if labels else None)
    expected = fvflow.score({0.1: points[:40], 0.2: points[40:]}, plane, metrics=["w1"])
    assert found["w1"].reading.by_time == pytest.approx(expected["w1"].reading.by_time, rel=1e-9)
    assert found.size == "40 to 50 samples at 2 times"


def test_another_result_on_another_mesh(line, tmp_path):
    """Means over cells: the finer run has errors a quarter as large, at order 2."""
    fine = Case.parse(LINE.replace("[48]", "[96]"))
    fine.write(tmp_path / "fine.nc")
    found = fvflow.score(tmp_path / "fine.nc", line)
    assert 1e-4 < found["nrmse"].value < 0.02
    assert found["mass"].value < 1e-13
    assert fvflow.score(fine.run(), line, times=[0.1, 0.2]).times == (0.1, 0.2)


def test_functions(line):
    def step(points, t, s):
        return points * np.exp(t - s)

    found = fvflow.score(step, line, role="step", samples=200)
    assert found.times == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert found["bw2-uvp"].told_apart, "it leaves the diffusion out"
    options = {"role": "step", "metrics": ["emd-one-step"], "samples": 200}
    truth = fvflow.score(lambda x, t, s: fvflow.push(line, x, t, s).points, line, **options)
    assert not truth["emd-one-step"].told_apart
    mapped = fvflow.score(lambda x, t, s: (x, np.zeros(len(x))), line, role="map", metrics=["jko"], samples=100)
    assert mapped["jko"].reading.details["transport"] == 0


# axes


def test_swapped_axes_are_noticed_by_shape_coordinates_and_values(plane):
    values = in_benchmark_order(plane)
    with pytest.raises(CaseError, match=r"26 x 28 cells, the reference 28 x 26: its axes are swapped"):
        fvflow.score(values.transpose(0, 1, 3, 2), plane)
    square = Case.parse(SQUARE).run()
    right = in_benchmark_order(square)
    assert fvflow.score(right, square, metrics=["nrmse"])["nrmse"].value == 0
    with pytest.raises(CaseError, match=r"10 times nearer to the reference with \w and \w exchanged"):
        fvflow.score(right.transpose(0, 1, 3, 2), square)
    uneven = Case.parse(SQUARE.replace("[-5, -5], upper: [5, 5]", "[-5, -4], upper: [5, 4]")).run()
    arrays = {"tensor": in_benchmark_order(uneven), "x-coordinate": uneven.y.values, "y-coordinate": uneven.x.values}
    with pytest.raises(CaseError, match="y is x of the reference: the axes are swapped"):
        fvflow.score(arrays, uneven)


# bad input: one sentence each


BAD = {
    "another metric": (lambda v: v, {"metrics": ["wasserstein1", "w1"]}, r"metric 'wasserstein1' does not exist"),
    "a slip": (lambda v: v, {"metrics": ["vrsme"]}, "did you mean vrmse"),
    "a bound of no metric": (lambda v: v, {"bounds": {"w22": 1.0}}, "did you mean w2"),
    "another shape": (lambda v: v[..., :20], {}, "20 cells, the reference 48: it is on another grid"),
    "two axes": (lambda v: v[..., None] * np.ones(3), {}, "2 axes of space, 48 x 3, the reference 48 cells"),
    "fewer times": (lambda v: v[:, :3], {}, "has 3 times and does not say which, the reference 5"),
    "times it has not": (lambda v: v[:, :2], {"times": [0.1, 0.15]}, r"t = 0.15 .* nearest are 0.1 and 0.2"),
    "times twice": (lambda v: v[:, :2], {"times": [0.1, 0.1]}, "ascending"),
    "not finite": (lambda v: np.where(v > 0.3, np.nan, v), {}, "the density is nan at"),
    "one sample": (lambda v: np.zeros((1, 1)), {"metrics": ["mmd-linear"]}, "needs 2 samples at each time"),
    "one for a covariance": (lambda v: np.zeros((1, 1)), {"metrics": ["bw2-uvp"]}, "needs 2 samples at each time"),
    "coordinates": (lambda v: np.zeros((5, 2)), {}, r"its samples have 2 coordinate\(s\), the reference 1"),
    "samples not finite": (lambda v: np.array([[0.0], [np.inf]]), {}, "sample 1 is at"),
    "labels of others": (lambda v: np.zeros((4, 1)), {"labels": [0, 0, 1]}, "4 samples and labels of shape"),
    "labels that number": (lambda v: np.zeros((4, 1)), {"labels": [0, 0, 1, 1]}, "need --times"),
    "a map for samples": (lambda v: np.zeros((4, 1)), {"metrics": ["l2-uvp"]}, "takes a map"),
    "samples for a density": (lambda v: np.zeros((4, 1)), {"metrics": ["symmetric-kl"]}, "takes a density"),
    "negative": (lambda v: v - 0.1, {"metrics": ["symmetric-kl"]}, "needs densities >= 0"),
    "no samples of it": (lambda v: v - 0.1, {"metrics": ["w1"]}, "draws samples of densities >= 0"),
    "a batch": (lambda v: np.concatenate([v, v]), {"metrics": ["w1"]}, "draws samples of one density, and there are 2"),
    "too many pairs": (
        lambda v: np.zeros((10**6, 1)),
        {"metrics": ["mmd-rbf"], "samples": 10**6},
        "all pairs of 1000000",
    ),
    "other mass": (lambda v: 1.1 * v, {"metrics": ["w2-interval"]}, "needs the mass of the reference"),
    "no momenta": (lambda v: v, {"metrics": ["continuity"]}, "needs momenta"),
    "few times": (lambda v: v[:, :2], {"metrics": ["weak-residual"], "times": [0, 0.1]}, "needs 3 times or more"),
    "nothing": (lambda v: {"thing": np.zeros(3)}, {}, "has the arrays thing; give points"),
    "texts": (lambda v: [["a"]], {}, "give a path, an array"),
    "another role": (lambda v: print, {"role": "velocity"}, "role 'velocity' does not exist"),
    "no log det": (lambda v: {"points": np.ones((3, 1)), "images": np.ones((3, 1))}, {"metrics": ["jko"]}, "log_det"),
    "images of others": (lambda v: {"points": np.ones((3, 1)), "images": np.ones((2, 1))}, {}, "images have the shape"),
    "samples of a seed": (lambda v: v, {"samples": 0}, "samples is 0; give a whole number from 1 on"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, line):
    make, options, message = BAD[name]
    with pytest.raises(CaseError, match=message) as error:
        fvflow.score(make(in_benchmark_order(line)), line, **options)
    assert "\n" not in str(error.value)


def test_a_reference_without_density_or_with_a_radius():
    text = LINE.replace("mean: [1]", "mean: [0]")
    disc = "mesh: {kind: radial, dimension: 2, outer: 6, cells: 20}"
    ds = Case.parse(text.replace("mesh: {kind: box, lower: [-6], upper: [6], cells: [48]}", disc)).run()
    with pytest.raises(CaseError, match="is a radius"):
        fvflow.score(np.zeros((3, 1)), ds)
    with pytest.raises(CaseError, match="no density"):
        fvflow.score(np.zeros((3, 1)), ds.drop_vars("rho"))
    with pytest.raises(CaseError, match="against is int"):
        fvflow.score(np.zeros((3, 1)), 3)


# the command


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["score", *map(str, arguments)])
    return ended.value.code, *capsys.readouterr()


def test_the_command(line, tmp_path, capsys, monkeypatch):
    Case.parse(LINE).write(tmp_path / "line.nc")
    np.save(tmp_path / "good.npy", Reference.of(line).draw(4, 200, 1))
    np.save(tmp_path / "bad.npy", Reference.of(line).draw(4, 200, 1) + 1.0)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "good.npy", "--against", "line.nc", "--metrics", "w1,w2", "--json", "--bound", "w2=0.5")
    found = json.loads(out)
    assert (code, set(found["metrics"])) == (0, {"w1", "w2"})
    assert not found["metrics"]["w2"]["told_apart"]
    code, out, err = run(capsys, "bad.npy", "--against", "line.nc", "--bound", "w2=0.5", "--metrics", "w1")
    assert code == 6
    assert re.search(r"w2 is 0\.\d+, above the bound 0.5", err)
    assert re.search(r"w1 .*worse", out)
    for arguments, wanted, message in (
        (["missing.npy"], 3, "cannot be read"),
        (["good.npy", "--metrics", "w3"], 3, "did you mean w"),
        (["good.txt"], 3, "is none of"),
        (["os:getcwd"], 3, "give --trust"),
        (["good.npy", "--times", "0.15"], 3, "not a saved time"),
    ):
        code, _, err = run(capsys, *arguments, "--against", "line.nc")
        assert (code, message in err) == (wanted, True), err
    code, _, err = run(capsys, "good.npy", "--against", "good.npy")
    assert code == 5
    (tmp_path / "own_model.py").write_text("import numpy as np\n\ndef rho(x, t):\n    return np.exp(-x[:, 0]**2/2)\n")
    code, out, _ = run(capsys, "own_model:rho", "--against", "line.nc", "--trust", "--metrics", "rmse", "--json")
    assert code == 0
    assert json.loads(out)["metrics"]["rmse"]["told_apart"]


def test_a_density_prediction_of_the_reference_is_perfect(line):
    reference = Reference.of(line)
    prediction = DensityPrediction("p", reference, (4,), reference.density(4)[None, None])
    assert not prediction.random_as("densities")
    assert prediction.random_as("samples")
    np.testing.assert_array_equal(prediction.perfect(10, 0).values, prediction.values)
