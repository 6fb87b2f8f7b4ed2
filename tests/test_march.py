from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvflow.errors import CaseError, NumericsError
from fvflow.march import Times, every, march, tee
from fvflow.problems import State


def states(times, step=lambda state, length: replace(state, time=state.time + length, step=state.step + 1)):
    return march(step, State(0.0, np.ones(3), 3.0), times)


@given(end=st.floats(1e-3, 1e3), step=st.floats(1e-2, 1), save=st.floats(1e-2, 1))
def test_every_saved_time_is_met_and_no_step_is_longer_than_asked(end, step, save):
    times = Times(end, end * step, end * save)
    lengths = []

    def recorded(state, length):
        lengths.append(length)
        return replace(state, time=state.time + length, step=state.step + 1)

    saved = list(every(states(times, recorded), times))
    assert [state.time for state in saved] == list(times.marks)
    assert saved[-1].time == end
    assert saved[-1].step == times.steps == len(lengths)
    assert max(lengths) <= end * step * (1 + 1e-8)
    assert len(set(lengths)) <= 2, "one length, and another in a last interval that is shorter"


def test_equal_intervals_have_equal_steps_to_the_last_bit():
    lengths = set()
    list(states(Times(2.0, 0.01, 0.1), lambda s, length: lengths.add(length) or replace(s, time=s.time + length)))
    assert len(lengths) == 1


def test_without_save_the_start_and_the_end_are_kept():
    assert Times(1.0, 0.1).marks == (0.0, 1.0)


@pytest.mark.parametrize(("end", "step", "save"), [(1, 2, None), (1, 0.1, 3), (1e10, 1e-3, None)])
def test_times_that_do_not_fit_are_refused(end, step, save):
    with pytest.raises(CaseError):
        Times(end, step, save)


def test_watchers_see_every_state():
    seen = []
    assert len(list(every(tee(states(Times(1.0, 0.1, 0.5)), seen.append), Times(1.0, 0.1, 0.5)))) == 3
    assert len(seen) == 11


def test_what_is_not_finite_stops_the_march_with_its_place():
    def explode(state, length):
        density = np.ones(3)
        density[1] = np.nan
        return replace(state, density=density)

    with pytest.raises(NumericsError, match=r"became nan in cell 1 at t = 0\.5"):
        list(states(Times(1.0, 0.5), explode))
