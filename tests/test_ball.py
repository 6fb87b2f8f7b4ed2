import numpy as np
import pytest
from scipy.special import jnp_zeros

from fvflow.errors import CaseError
from fvflow.exact import Facts, FromExact
from fvflow.exact.ball import BallMode, HeatBall
from fvflow.fields import Drift, Expression, Uniform, cell_values
from fvflow.mesh import Box
from fvflow.mesh.polytopes import mesh_from_cells

RADIUS = 1.7


def onto_ball(u):
    """The cube [-1, 1]^d onto the ball, its surface onto the sphere."""
    q = u**2
    if u.shape[1] == 2:
        return u * np.sqrt(1 - q[:, ::-1] / 2)
    y, z = np.roll(q, -1, axis=1), np.roll(q, -2, axis=1)
    return u * np.sqrt(1 - (y + z) / 2 + y * z / 3)


def ball(dimension, count, radius=RADIUS, centre=0.0):
    """A box bent into a ball."""
    box = Box((-1.0,) * dimension, (1.0,) * dimension, (count,) * dimension).build()
    return mesh_from_cells(centre + radius * onto_ball(box.points), box.cell_points, centroids=True)


def means(mesh, mode, sampling="average"):
    return cell_values(mesh, lambda at, part: mode.at(at), sampling, 4)


def facts(mesh, initial=None, drift=None, porous=()):
    return Facts(mesh, drift or Drift(), 0.3, 2.0, initial or FromExact(2.0), porous)


MESHES = {2: ball(2, 12), 3: ball(3, 6)}
MODES = [(2, 0, 1), (2, 0, 3), (2, 1, 1), (2, 4, 2), (3, 0, 1), (3, 0, 2), (3, 1, 1), (3, 3, 2), (3, 6, 1)]
KNOWN = {  # of j_n', by order and count: tan x = x for order 0; Abramowitz and Stegun, table 10.6
    (0, 1): 4.493409458,
    (0, 2): 7.725251837,
    (1, 1): 2.081575978,
    (1, 2): 5.940369990,
    (2, 1): 3.342093658,
    (3, 1): 4.514099647,
}


def test_the_wavenumbers_of_a_disc_are_those_of_scipy():
    for order in (0, 1, 2, 7, 40, 300):
        found = [BallMode(2, order, count, 2.0).wavenumber for count in (1, 2, 3, 30)]
        np.testing.assert_allclose(found, jnp_zeros(order, 30)[[0, 1, 2, 29]] / 2.0, rtol=1e-13)
    assert BallMode(2, 0, 1, 1.0).wavenumber == pytest.approx(3.831705970, abs=1e-9)


def test_the_wavenumbers_of_a_ball_are_known_and_none_is_left_out():
    for (order, count), zero in KNOWN.items():
        assert BallMode(3, order, count, 2.0).wavenumber == pytest.approx(zero / 2.0, abs=1e-9)
    for order in (0, 1, 5, 80):
        numbers = np.array([BallMode(3, order, count, 1.0).wavenumber for count in range(1, 30)])
        gaps = np.diff(numbers)
        assert (gaps > np.pi - 1e-9).all()
        assert (np.diff(gaps) < 1e-9).all(), "they come closer and closer, unless one is left out"
        assert gaps[-1] < 4


def test_the_largest_modes_are_found():
    for dimension in (2, 3):
        mode = BallMode(dimension, 1000, 1000, 1.0)
        assert 1000 * np.pi < mode.wavenumber < 1501 * np.pi
        values = mode.at(np.linspace(0, 1, 3)[:, None] * np.eye(dimension)[-1])
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("dimension", "order", "count"), MODES)
def test_a_mode_is_an_eigenfunction_with_a_wall_that_nothing_crosses(dimension, order, count):
    mode = BallMode(dimension, order, count, RADIUS)
    random = np.random.default_rng(3)
    direction = random.normal(size=(40, dimension))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    inside = direction * random.uniform(0.1, 0.95, (40, 1)) * RADIUS
    h = 1e-3 / mode.wavenumber
    shifts = h * np.concatenate([np.eye(dimension), -np.eye(dimension)])
    laplacian = (sum(mode.at(inside + shift) for shift in shifts) - 2 * dimension * mode.at(inside)) / h**2
    np.testing.assert_allclose(laplacian / mode.wavenumber**2, -mode.at(inside), atol=1e-5)
    slope = (mode.at((RADIUS + h) * direction) - mode.at((RADIUS - h) * direction)) / (2 * h)
    np.testing.assert_allclose(slope / mode.wavenumber, 0, atol=1e-5)


@pytest.mark.parametrize(("dimension", "order", "count"), MODES)
def test_the_largest_value_of_a_mode_is_one(dimension, order, count):
    mode = BallMode(dimension, order, count, RADIUS)
    r, angle = (part.ravel() for part in np.meshgrid(np.linspace(0, RADIUS, 801), np.linspace(0, np.pi, 181)))
    position = np.zeros((len(r), dimension))
    position[:, 0 if dimension == 2 else 2], position[:, 1] = r * np.cos(angle), r * np.sin(angle)
    largest = np.abs(mode.at(position)).max()
    assert 1 - 1e-3 < largest <= 1 + 1e-14


def test_the_angles_are_from_x_in_a_disc_and_from_z_in_a_ball():
    axes = np.eye(3)
    np.testing.assert_allclose(BallMode(3, 1, 1, 1.0).at(axes), [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(BallMode(3, 2, 1, 1.0).at(axes), [-0.5, -0.5, 1], atol=1e-15)
    np.testing.assert_allclose(BallMode(2, 1, 1, 1.0).at(np.eye(2)), [1, 0], atol=1e-15)
    np.testing.assert_allclose(BallMode(2, 2, 1, 1.0).at(np.eye(2)), [1, -1], atol=1e-15)


def test_the_origin_is_no_exception():
    for dimension in (2, 3):
        origin = np.zeros((2, dimension))
        np.testing.assert_array_equal(BallMode(dimension, 0, 2, 1.0).at(origin), 1.0)
        np.testing.assert_array_equal(BallMode(dimension, 3, 2, 1.0).at(origin), 0.0)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("order", [0, 2])
def test_the_reference_is_the_solution_with_the_mass_of_the_case(dimension, order):
    mesh = MESHES[dimension]
    reference = HeatBall(RADIUS, order, amplitude=0.5).on(facts(mesh))
    mode = BallMode(dimension, order, 1, RADIUS)
    background = 2.0 / mesh.volume.sum()
    for at in (0.0, 0.4):
        density = reference.average(at)
        assert mesh.volume @ density == pytest.approx(2.0, rel=1e-14)
        factor = 0.5 * np.exp(-0.3 * mode.wavenumber**2 * at)
        expected = background * (1 + factor * means(mesh, mode))
        lost = 1 - mesh.volume.sum() / ([np.pi, 4 / 3 * np.pi][dimension - 2] * RADIUS**dimension)
        np.testing.assert_allclose(density, expected, atol=lost * factor * background, rtol=0)
    assert np.abs(density - background).max() > 0.01 * background
    np.testing.assert_allclose(reference.average(1e3), background, rtol=1e-15)


def test_the_mean_of_a_mode_over_the_mesh_vanishes_with_the_cells():
    """So it is of second order what the reference leaves out."""
    mode, left = BallMode(2, 0, 1, RADIUS), []
    for count in (8, 16, 32):
        mesh = ball(2, count)
        left.append(abs(mesh.volume @ means(mesh, mode)) / mesh.volume.sum())
    ratio = np.array(left[:-1]) / left[1:]
    assert ((ratio > 3.5) & (ratio < 4.5)).all()


@pytest.mark.parametrize("sampling", ["average", "centre"])
@pytest.mark.parametrize("amplitude", [-1.0, 1.0])
@pytest.mark.parametrize(("dimension", "order", "count"), MODES)
def test_densities_are_not_negative(dimension, order, count, amplitude, sampling):
    for mesh in (MESHES[dimension], ball(dimension, 5)):  # the second has a cell about the origin
        exact = HeatBall(RADIUS, order, count, amplitude, sampling=sampling)
        assert exact.on(facts(mesh)).average(0.0).min() >= 0


def test_a_mode_that_leaves_its_bounds_is_scaled_back():
    """Without that, densities at the origin would be negative."""
    mesh = ball(2, 5)
    mode = means(mesh, BallMode(2, 0, 2, RADIUS), "centre")
    assert (mode - mesh.volume @ mode / mesh.volume.sum()).max() > 1.001
    assert HeatBall(RADIUS, 0, 2, -1.0, sampling="centre").on(facts(mesh)).average(0.0).min() == pytest.approx(0)


def test_values_at_the_centres_are_those():
    mesh = MESHES[2]
    reference = HeatBall(RADIUS, 1, amplitude=1.0, sampling="centre").on(facts(mesh))
    values = BallMode(2, 1, 1, RADIUS).at(mesh.centre)
    np.testing.assert_allclose(reference.mode, values - mesh.volume @ values / mesh.volume.sum(), atol=1e-14)


def test_cells_may_be_of_any_kind():
    """Triangles beside quadrilaterals, by the averages over the halves of quadrilaterals."""
    whole = ball(2, 12)
    half = np.arange(whole.cells) % 2 == 0
    corners = whole.cell_points
    triangles = np.concatenate([corners[half][:, [0, 1, 2]], corners[half][:, [0, 2, 3]]])
    cells = np.concatenate([corners[~half], np.pad(triangles, ((0, 0), (0, 1)), constant_values=-1)])
    mixed = mesh_from_cells(whole.points, cells, centroids=True)
    fine, coarse = (HeatBall(RADIUS, 2).on(facts(mesh)).average(0.1) for mesh in (mixed, whole))
    first = np.count_nonzero(~half)
    halves = (mixed.volume * fine)[first:].reshape(2, -1).sum(axis=0)
    np.testing.assert_allclose(halves, (whole.volume * coarse)[half], rtol=1e-6)
    np.testing.assert_allclose(fine[:first], coarse[~half], rtol=1e-6)


def test_a_ball_may_be_anywhere():
    here, there = MESHES[3], ball(3, 6, centre=np.array([3.0, -1.0, 0.5]))
    density = HeatBall(RADIUS, 2).on(facts(here)).average(0.1)
    np.testing.assert_allclose(
        HeatBall(RADIUS, 2, centre=(3.0, -1.0, 0.5)).on(facts(there)).average(0.1), density, rtol=1e-12
    )


DISC = MESHES[2]


@pytest.mark.parametrize(
    ("exact", "case", "message"),
    [
        (HeatBall(1.0), facts(Box((-1.0,), (1.0,), (8,)).build()), "dimension 1"),
        (HeatBall(RADIUS), facts(DISC, Uniform()), "got uniform"),
        (HeatBall(RADIUS), facts(DISC, drift=Drift(potential=Expression("x"))), "heat equation"),
        (HeatBall(RADIUS), facts(DISC, porous=((1.0, 2.0),)), "heat equation"),
        (HeatBall(RADIUS, centre=(0.0, 0.0, 0.0)), facts(DISC), "3 entries"),
        (HeatBall(RADIUS * (1 - 1e-5)), facts(DISC), "inscribed"),
        (HeatBall(RADIUS * 1.02), facts(DISC), "inscribed"),
        (HeatBall(RADIUS, centre=(0.01, 0.0)), facts(DISC), "inscribed"),
        (HeatBall(2**0.5), facts(Box((-1.0, -1.0), (1.0, 1.0), (8, 8)).build()), "fills 0.637 of the disc"),
        (HeatBall(3**0.5), facts(Box((-1.0,) * 3, (1.0,) * 3, (4,) * 3).build()), "fills 0.368 of the ball"),
    ],
)
def test_cases_it_does_not_solve_are_refused(exact, case, message):
    with pytest.raises(CaseError, match=message):
        exact.on(case)
