"""Assembly of a sparse symmetric matrix from the entries of one half."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array, Index


def assemble_symmetric(
    rows: Index, columns: Index, values: Array, scale: Array, place: Index, diagonal: float, least: float
) -> Any:
    """The matrix M (cell, cell) of m_ij = s_i s_j v_ij, symmetric, with the number `diagonal` in place of m_ii.

    M_{p(i) p(j)} = m_ij with the new order p of the cells, `place` (cell,); s is `scale` (cell,); v_ij is the sum of
    the values of (i, j) and (j, i), which may occur any number of times, but no (i, i). Values with |s_i s_j v| at most
    `least` are left out. A scipy CSC array with sorted indices.
    """
    from scipy.sparse import csc_array

    data, indices, starts = _columns(rows, columns, values, scale, place, diagonal, least)
    matrix = csc_array((data, indices, starts), shape=(len(scale), len(scale)))
    matrix.has_canonical_format = True
    return matrix


@kernel()
def _columns(rows: Any, columns: Any, values: Any, scale: Any, place: Any, diagonal: Any, least: Any) -> Any:
    """Two passes of counting sort: into rows, then row by row into columns, so that each column is sorted."""
    cells, scaled = len(scale), np.empty_like(values)
    starts = np.zeros(cells + 1, np.int32)
    for entry in range(len(values)):
        i, j = rows[entry], columns[entry]
        scaled[entry] = scale[i] * scale[j] * values[entry]
        if not abs(scaled[entry]) <= least:
            starts[place[i] + 1] += 1
            starts[place[j] + 1] += 1
    for cell in range(cells):
        starts[cell + 1] += starts[cell] + 1
    end = starts[:-1].copy()
    other, value = np.empty(starts[cells], np.int32), np.empty(starts[cells])
    for cell in range(cells):
        other[end[cell]], value[end[cell]] = cell, diagonal
        end[cell] += 1
    for entry in range(len(values)):
        if not abs(scaled[entry]) <= least:
            i, j = place[rows[entry]], place[columns[entry]]
            other[end[i]], value[end[i]] = j, scaled[entry]
            other[end[j]], value[end[j]] = i, scaled[entry]
            end[i] += 1
            end[j] += 1
    indices, data = np.empty_like(other), np.empty_like(value)
    end[:] = starts[:-1]
    for cell in range(cells):
        for position in range(starts[cell], starts[cell + 1]):
            j = other[position]
            if end[j] > starts[j] and indices[end[j] - 1] == cell:
                data[end[j] - 1] += value[position]
            else:
                indices[end[j]], data[end[j]] = cell, value[position]
                end[j] += 1
    found = 0
    for cell in range(cells):
        begin, starts[cell] = starts[cell], found
        for position in range(begin, end[cell]):
            indices[found], data[found] = indices[position], data[position]
            found += 1
    starts[cells] = found
    return data[:found], indices[:found], starts
