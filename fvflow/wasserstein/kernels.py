"""Compiled loops; imported when first needed, as numba takes a while."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel


@kernel(nogil=False, error_model="python")
def lines(value: Any, y: Any, x: Any, out: Any, arg: Any) -> None:
    """out[r, i] = max_j x_i y_j - value[r, j] for increasing y and x; -inf and node 0 if no value is finite."""
    hull = np.empty(y.size, np.int64)
    for r in range(value.shape[0]):
        f = value[r]
        size = 0
        for j in range(y.size):
            if not f[j] < np.inf:
                continue
            while size > 1:
                p, q = hull[size - 2], hull[size - 1]
                if (f[q] - f[p]) * (y[j] - y[q]) < (f[j] - f[q]) * (y[q] - y[p]):
                    break
                size -= 1
            hull[size] = j
            size += 1
        if size == 0:
            out[r, :] = -np.inf
            arg[r, :] = 0
            continue
        at = 0
        for i in range(x.size):
            while at + 1 < size:
                p, q = hull[at], hull[at + 1]
                if x[i] * (y[q] - y[p]) < f[q] - f[p]:
                    break
                at += 1
            j = hull[at]
            out[r, i] = x[i] * y[j] - f[j]
            arg[r, i] = j


@kernel(nogil=False, error_model="python")
def pivot(
    tail: Any,
    head: Any,
    cost: Any,
    parent: Any,
    depth: Any,
    child: Any,
    after: Any,
    before: Any,
    upward: Any,
    flow: Any,
    price: Any,
    arc: Any,
    cursor: Any,
    tolerance: float,
    limit: int,
) -> Any:
    """Pivot until no arc has a reduced cost below -tolerance, at most `limit` times; returns the number of pivots.

    `cursor[0]` is the arc at which the pricing goes on, so that calls in a row pivot as one call would.
    """
    arcs = tail.size
    block = max(min(arcs, 64), int(2.0 * np.sqrt(arcs)))
    start, seen, done = cursor[0], 0, 0
    stack = np.empty(parent.size, np.int64)
    while seen < arcs and done < limit:
        best, entering = -tolerance, -1
        for _ in range(block):
            reduced = cost[start] + price[tail[start]] - price[head[start]]
            if reduced < best:
                best, entering = reduced, start
            start += 1
            if start == arcs:
                start = 0
        seen += block
        if entering < 0:
            continue
        seen = 0
        done += 1
        i, j = tail[entering], head[entering]
        apex = _join(i, j, parent, depth)
        # the cycle i -> j -> ... -> apex -> ... -> i; the last blocking arc seen from the apex leaves
        amount, leaving, below_i = np.int64(2**62), -1, True
        k = i
        while k != apex:
            if upward[k] and flow[k] < amount:
                amount, leaving = flow[k], k
            k = parent[k]
        k = j
        while k != apex:
            if not upward[k] and flow[k] <= amount:
                amount, leaving, below_i = flow[k], k, False
            k = parent[k]
        k = i
        while k != apex:
            flow[k] += -amount if upward[k] else amount
            k = parent[k]
        k = j
        while k != apex:
            flow[k] += amount if upward[k] else -amount
            k = parent[k]
        # attach the cut subtree to the entering arc, reversing the path from its new top to the leaving arc
        top, onto = (i, j) if below_i else (j, i)
        node, new_parent, new_arc, new_up, new_flow = top, onto, entering, below_i, amount
        while True:
            old_parent, old_arc, old_up, old_flow = parent[node], arc[node], upward[node], flow[node]
            _unhang(node, old_parent, child, after, before)
            _hang(node, new_parent, child, after, before)
            parent[node], arc[node], upward[node], flow[node] = new_parent, new_arc, new_up, new_flow
            if node == leaving:
                break
            node, new_parent, new_arc, new_up, new_flow = old_parent, node, old_arc, not old_up, old_flow
        # reduced cost zero on the entering arc: shift the prices of the subtree
        shift = -best if below_i else best
        size = 1
        stack[0] = top
        while size > 0:
            size -= 1
            node = stack[size]
            price[node] += shift
            depth[node] = depth[parent[node]] + 1
            k = child[node]
            while k >= 0:
                stack[size] = k
                size += 1
                k = after[k]
    cursor[0] = start
    return done


@kernel(nogil=False, error_model="python")
def _join(i: Any, j: Any, parent: Any, depth: Any) -> Any:
    """The lowest common ancestor."""
    while depth[i] > depth[j]:
        i = parent[i]
    while depth[j] > depth[i]:
        j = parent[j]
    while i != j:
        i, j = parent[i], parent[j]
    return i


@kernel(nogil=False, error_model="python")
def _unhang(node: Any, parent: Any, child: Any, after: Any, before: Any) -> None:
    if before[node] >= 0:
        after[before[node]] = after[node]
    else:
        child[parent] = after[node]
    if after[node] >= 0:
        before[after[node]] = before[node]


@kernel(nogil=False, error_model="python")
def _hang(node: Any, parent: Any, child: Any, after: Any, before: Any) -> None:
    before[node], after[node] = -1, child[parent]
    if child[parent] >= 0:
        before[child[parent]] = node
    child[parent] = node
