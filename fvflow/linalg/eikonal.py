"""Upwind eikonal equations: each cell's value from those of its lower neighbours, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel


@kernel()
def march_upstream(
    first: Any, face: Any, owner: Any, neighbour: Any, forward: Any, backward: Any, volume: Any, level: Any, phi: Any
) -> None:
    """Replace phi, which holds q at first (`level`), by the solution of phi + sum a (phi - phi_L)_+^2/(2|K|) = q.

    The cells leave a binary heap in the order of ascending phi, as in Sethian, A fast marching level set method for
    monotonically advancing fronts, PNAS 93 (1996): phi_K depends on lower neighbours only. a is `forward` out of the
    owner of a face and `backward` out of its neighbour.
    """
    heap = np.argsort(level).astype(np.int32)
    place = np.empty(len(phi), np.int32)
    for i in range(len(phi)):
        place[heap[i]] = i
    # of the lower neighbours passed so far, with `last` the highest: sums of a/|K|, of that times last - phi_L, and of
    # half that times its square
    weight, slope, excess, last = np.zeros(len(phi)), np.zeros(len(phi)), np.zeros(len(phi)), level.copy()
    for size in range(len(phi) - 1, -1, -1):
        cell = heap[0]
        place[cell] = -1
        if size > 0:
            heap[0] = heap[size]
            place[heap[0]] = 0
            sift_down(heap, place, phi, size)
        for index in range(first[cell], first[cell + 1]):
            s = face[index]
            ahead = owner[s] == cell
            other = neighbour[s] if ahead else owner[s]
            if place[other] < 0:
                continue
            gap = phi[cell] - last[other] if weight[other] > 0.0 else 0.0
            excess[other] += gap * (slope[other] + 0.5 * weight[other] * gap)
            slope[other] += weight[other] * gap
            weight[other] += (backward[s] if ahead else forward[s]) / volume[other]
            last[other] = phi[cell]
            left = max(level[other] - phi[cell] - excess[other], 0.0)
            root = 1.0 + slope[other]
            root += np.sqrt(root * root + 2.0 * weight[other] * left)
            phi[other] = min(phi[other], phi[cell] + 2.0 * left / root)
            sift_up(heap, place, phi, place[other])


@kernel()
def sift_down(heap: Any, place: Any, key: Any, size: Any) -> None:
    """Move the first entry of a binary heap, least key first, down to where it belongs."""
    i = 0
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        if key[heap[child]] >= key[heap[i]]:
            break
        heap[i], heap[child] = heap[child], heap[i]
        place[heap[i]], place[heap[child]] = i, child
        i = child


@kernel()
def sift_up(heap: Any, place: Any, key: Any, i: Any) -> None:
    """Move an entry of a binary heap whose key has fallen up to where it belongs."""
    while i > 0 and key[heap[(i - 1) // 2]] > key[heap[i]]:
        parent = (i - 1) // 2
        heap[i], heap[parent] = heap[parent], heap[i]
        place[heap[i]], place[heap[parent]] = i, parent
        i = parent
