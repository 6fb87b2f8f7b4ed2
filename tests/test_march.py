import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvflow.error_control import Adaptive
from fvflow.errors import CaseError, NumericsError
from fvflow.march import at_save_times, march, observed
from fvflow.problems import State
from fvflow.times import Times


def states(times, step=lambda state, length: replace(state, time=state.time + length, step=state.step + 1)):
    return march(step, State(times.origin, np.ones(3), 3.0), times, np.ones(3), 1)


@given(end=st.floats(1e-3, 1e3), step=st.floats(1e-2, 1), save=st.floats(1e-2, 1))
def test_every_saved_time_is_met_and_no_step_is_longer_than_asked(end, step, save):
    times = Times(end, end * step, end * save)
    lengths = []

    def recorded(state, length):
        lengths.append(length)
        return replace(state, time=state.time + length, step=state.step + 1)

    run = list(states(times, recorded))
    assert set(times.save_times) <= {state.time for state in run}
    assert run[-1].time == end
    assert run[-1].step == times.steps == len(lengths)
    assert max(lengths) <= end * step * (1 + 1e-8)
    assert len(set(lengths)) <= 2, "one length, and another in a last interval that is shorter"


def test_equal_intervals_have_equal_steps_to_the_last_bit():
    lengths = set()
    list(states(Times(2.0, 0.01, 0.1), lambda s, length: lengths.add(length) or replace(s, time=s.time + length)))
    assert len(lengths) == 1


def test_without_save_the_start_and_the_end_are_kept():
    assert Times(1.0, 0.1).save_times == (0.0, 1.0)


@pytest.mark.parametrize(("end", "step", "save"), [(1, 2, None), (1, 0.1, 3), (1e10, 1e-3, None)])
def test_times_that_do_not_fit_are_refused(end, step, save):
    with pytest.raises(CaseError):
        Times(end, step, save)


def test_watchers_see_every_state():
    seen = []
    assert len(list(at_save_times(observed(states(Times(1.0, 0.1, 0.5)), seen.append), Times(1.0, 0.1, 0.5)))) == 3
    assert len(seen) == 11


GRIDS = [Times(1.0, 0.1, 0.3), Times(1.0, 0.03, (0.01, 0.5)), Times(2.0, 0.1, 0.25, start=1.0), Times(0.9, 0.1, 0.3)]


@pytest.mark.parametrize("times", GRIDS)
def test_a_march_from_any_of_its_states_takes_the_same_steps(times):
    def step(state, length):
        return replace(state, time=state.time + length, step=state.step + 1, density=state.density * (1 - length))

    run = list(march(step, State(times.origin, np.ones(3), 3.0), times, np.ones(3), 1))
    for number, state in enumerate(run):
        again = list(march(step, state, times, np.ones(3), 1))
        assert [each.time for each in again] == [each.time for each in run[number:]]
        np.testing.assert_array_equal(again[-1].density, run[-1].density)


def test_adaptive_marches_go_on_from_the_length_that_they_had_reached():
    times = Times(2.0, Adaptive(1e-3, 1e-4), 0.3)
    run = list(march(decay(1, []), State(0.0, np.ones(2), 1.0), times, np.array([0.5, 0.5]), 1))
    assert [np.isnan(state.next_length) for state in run[1:3]] == [True, False], "a step is two halves"
    for number, state in enumerate(run):
        if not np.isnan(state.next_length):
            again = list(march(decay(1, []), state, times, np.array([0.5, 0.5]), 1))
            assert [each.time for each in again] == [each.time for each in run[number:]]


def test_with_other_saves_the_rest_of_an_interval_is_divided_anew():
    state = State(0.35, np.ones(3), 3.0)
    run = list(march(lambda s, length: replace(s, time=s.time + length), state, Times(1.0, 0.1, 0.5), np.ones(3), 1))
    np.testing.assert_allclose([each.time for each in run], [0.35, 0.425, 0.5, *np.arange(0.6, 1.05, 0.1)])


@pytest.mark.parametrize("times", GRIDS)
def test_saved_times_are_counted(times):
    saves = times.save_times
    assert [times.saved_until(time) for time in saves] == list(range(1, len(saves) + 1))
    assert [times.saved_until(time - 1e-6) for time in saves] == list(range(len(saves)))


def test_what_is_not_finite_stops_the_march_with_its_place():
    def explode(state, length):
        density = np.ones(3)
        density[1] = np.nan
        return replace(state, density=density)

    with pytest.raises(NumericsError, match=r"became nan in cell 1 at t = 0\.5"):
        list(states(Times(1.0, 0.5), explode))


def decay(order, calls):
    """d_t rho = -rho by implicit Euler or the midpoint rule; each call counted."""

    def step(state, length):
        calls.append(length)
        factor = 1 / (1 + length) if order == 1 else (1 - length / 2) / (1 + length / 2)
        return replace(state, time=state.time + length, step=state.step + 1, density=state.density * factor)

    return step


@pytest.mark.parametrize("order", [1, 2])
def test_adaptive_steps_keep_their_tolerance_and_meet_the_saves(order):
    rule, volume, calls = Adaptive(1e-3, 1e-4), np.array([0.5, 0.25]), []
    times = Times(2.0, rule, 0.3)
    states = list(march(decay(order, calls), State(0.0, np.array([1.0, 2.0]), 1.0), times, volume, order))
    assert set(times.save_times) <= {state.time for state in states}
    lengths = np.diff([state.time for state in states])
    for before, after in zip(states[::2], states[2::2], strict=False):  # each pair of half steps
        exact = before.density * np.exp(before.time - after.time)
        assert volume @ np.abs(after.density - exact) <= 1.5e-4
    assert lengths.max() > 3 * lengths[0], "they grow where they may"
    assert len(calls) == 3 * (len(lengths) // 2 + sum(state.rejections for state in states))


def test_the_error_is_that_of_the_half_steps():
    """|y - z| = 4.9e-3 for a whole step of 0.5 of the midpoint rule; a third of it is what y is off by."""
    times = Times(0.5, Adaptive(0.5, 3e-3))
    states = list(march(decay(2, []), State(0.0, np.ones(1), 1.0), times, np.ones(1), 2))
    assert [state.rejections for state in states] == [0, 0, 0]


def test_a_step_that_is_too_long_is_rejected_and_counted():
    calls = []
    states = list(march(decay(1, calls), State(0.0, np.ones(1), 1.0), Times(1.0, Adaptive(1.0, 1e-3)), np.ones(1), 1))
    assert states[1].rejections >= 1
    assert [state.rejections for state in states[2:]].count(0) > 0
    assert calls[0] == 1.0


def test_a_step_that_fails_is_tried_again_shorter():
    def step(state, length):
        if length > 0.1:
            raise NumericsError("too long")
        return replace(state, time=state.time + length, density=state.density / (1 + length))

    states = list(march(step, State(0.0, np.ones(1), 1.0), Times(1.0, Adaptive(1.0, 0.5)), np.ones(1), 1))
    assert states[-1].time == 1.0
    assert states[1].rejections >= 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [(Adaptive(0.5, 1e-9, shortest=0.01), r"the shortest allowed, is off by .* use a larger tolerance")],
)
def test_a_tolerance_out_of_reach_is_told(rule, message):
    with pytest.raises(NumericsError, match=message):
        list(march(decay(1, []), State(0.0, np.ones(1), 1.0), Times(1.0, rule), np.ones(1), 1))


def test_bounds_of_adaptive_steps():
    rule = Adaptive(0.01, 1e-2, longest=0.02)
    states = list(march(decay(1, []), State(0.0, np.ones(1), 1.0), Times(1.0, rule), np.ones(1), 1))
    assert np.diff([state.time for state in states]).max() <= 0.01 + 1e-12
    capped = march(
        decay(1, []), State(0.0, np.ones(1), 1.0), Times(1.0, Adaptive(0.5, 0.9, longest=0.01)), np.ones(1), 1
    )
    assert np.diff([state.time for state in capped]).max() <= 0.005 + 1e-12
    with pytest.raises(CaseError, match="is below shortest"):
        Times(1.0, Adaptive(0.01, 1e-2, shortest=0.1, longest=0.01))
    with pytest.raises(CaseError, match="longer than end"):
        Times(1.0, Adaptive(2.0, 1e-2))
    with pytest.raises(CaseError, match=r"initial 0\.01 is below shortest"):
        Times(1.0, Adaptive(0.01, 1e-2, shortest=0.1))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"initial": 0.5, "shortest": 2.0}, "shortest 2 is longer than end 1"),
        ({"initial": 0.5, "shortest": 0.6}, "initial 0.5 is below shortest 0.6"),
        ({"initial": 0.5, "shortest": 0.3, "longest": 0.2}, "longest 0.2 is below shortest 0.3"),
    ],
)
def test_contradictory_lengths_of_adaptive_steps_are_refused(rule, message):
    with pytest.raises(CaseError, match=message):
        Times(1.0, Adaptive(tolerance=1e-3, **rule))


def lengths_tried(times):
    """The lengths of the steps that are tried where none succeeds."""
    lengths = []

    def failing(state, length):
        lengths.append(length)
        assert len(lengths) < 100, "it goes on for ever"
        raise NumericsError("no step is short enough")

    with pytest.raises(NumericsError, match="no step is short enough"):
        list(states(times, failing))
    return lengths


@pytest.mark.parametrize("end", [1e-3, 1.0, 1e3])
def test_the_shortest_step_is_a_part_of_the_first_unless_given(end):
    """A step that always fails is tried down to 1e-6 of the first, in whatever units time is."""
    lengths = lengths_tried(Times(end, Adaptive(1e-3 * end, 1e-3), save=end / 700.7))
    assert min(lengths) == pytest.approx(1e-9 * end, rel=1e-5)
    assert lengths == sorted(lengths, reverse=True)


def test_a_step_that_always_fails_ends_the_run_without_saves_too():
    assert min(lengths_tried(Times(1.0, Adaptive(0.1, 1e-3)))) == pytest.approx(1e-7, rel=1e-8)


def test_no_step_is_too_short_to_move_the_clock():
    times = Times(1.0 + 1e-9, Adaptive(1e-10, 1e-3, shortest=1e-30), start=1.0)
    assert min(lengths_tried(times)) >= 2.0 * math.ulp(1.0)
