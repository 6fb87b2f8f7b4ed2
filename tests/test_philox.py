"""Philox4x32-10: known answers, independence of order, and the laws of what is made of it."""

import math

import numpy as np
import pytest
from scipy import stats

from fvflow.lagrangian.philox import NOISE, START, _cosine_and_sine, philox, random_numbers

ONES = 2**32 - 1
ALL, MANY = np.arange(1000), np.arange(200_000)


@pytest.mark.parametrize(
    ("counter", "seed", "known"),
    [
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers(counter, seed, known):
    """Those of Random123 1.09, kat_vectors."""
    found = philox(*(np.uint64(part) for part in counter), np.uint64(seed))
    assert " ".join(f"{part:08x}" for part in found) == known


def test_numbers_belong_to_a_particle_a_step_a_draw_a_purpose_and_a_seed_alone():
    whole = random_numbers(ALL, 6, 7, NOISE, 5)
    np.testing.assert_array_equal(whole[400:], random_numbers(ALL[400:], 6, 7, NOISE, 5))
    np.testing.assert_array_equal(whole[:, 2:4], random_numbers(ALL, 2, 7, NOISE, 5, draw=1))
    np.testing.assert_array_equal(whole[:, :5], random_numbers(ALL, 5, 7, NOISE, 5))
    others = [
        random_numbers(ALL, 6, 8, NOISE, 5),
        random_numbers(ALL, 6, 7, START, 5),
        random_numbers(ALL, 6, 7, NOISE, 6),
        random_numbers(ALL, 6, 7, NOISE, 5 + 2**32),
    ]
    assert all((whole != other).all() for other in others)


def test_uniform_numbers_are_uniform_and_inside():
    values = random_numbers(MANY, 4, 0, NOISE, 1)
    assert values.min() > 0.0
    assert values.max() < 1.0
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values.T) - np.eye(4)).max() < 4 / np.sqrt(len(values))


def test_cosine_and_sine_are_right_to_round_off():
    for turns in (*np.arange(4097) / 4096, 1e-9, 0.1, 1 - 2**-53):
        expected = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
        np.testing.assert_allclose(_cosine_and_sine(turns), expected, atol=1e-15)


def test_normal_numbers_are_normal():
    values = random_numbers(MANY, 3, 0, NOISE, 1, normal=True)
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(values.T) - np.eye(3)).max() < 4 / np.sqrt(len(values))
