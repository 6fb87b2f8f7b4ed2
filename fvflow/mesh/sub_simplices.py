"""The orthogonal simplices that Voronoi boxes of the nodes of triangles or tetrahedra are made of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze_index
from fvflow.mesh.pieces import Simplices
from fvflow.mesh.polytopes import circumcentres

_ROUND_OFF = 1e-9  # area of the part of a face that counts as zero, relative to that of a cube on the edge across it


@dataclass(frozen=True, eq=False)
class SubSimplices:
    """Orthogonal sub-simplices of the elements, in pairs on the two sides of a dual face.

    The corners of each are a node, the midpoint of an edge at that node, (in space the circumcentre of a face at that
    edge,) and the circumcentre of the element. A Voronoi box is the signed sum of the sub-simplices at its node. The
    sign is negative if a circumcentre lies beyond its edge or face.
    """

    points: Array  # (node, dim) nodes of the mesh, then midpoints and circumcentres
    ends: Index  # (pair, 2) nodes of the edge
    corners: Index  # (pair, dim) midpoint of the edge, (circumcentre of the face,) circumcentre of the element
    area: Array  # (pair,) signed measure of the part of the dual face
    length: Array  # (pair,) length of the edge
    edge: Index  # (pair,) number of the edge
    edges: Index  # (edge, 2) nodes, the lower number first

    @property
    def volume(self) -> Array:
        """Signed measure of each of the two sub-simplices of a pair (pair,)."""
        return np.asarray(self.area * self.length / (2 * self.points.shape[1]))

    @property
    def at_nodes(self) -> tuple[Index, Index]:
        """The node that each sub-simplex belongs to (2 pair,), and the corners of each (2 pair, dim + 1)."""
        node = freeze_index(self.ends.T.ravel())
        return node, freeze_index(np.column_stack([node, np.tile(self.corners, (2, 1))]))

    def pieces(self) -> Simplices:
        """The sub-simplices that make up the boxes; raises CaseError if one of them counts negative."""
        across = self.length ** (self.points.shape[1] - 1)
        if beyond := int((self.area < -_ROUND_OFF * across).sum()):
            raise CaseError(
                f"{beyond} circumcentres lie beyond their edge or face, so that the Voronoi boxes are not made of "
                "simplices; use control_volumes: cells"
            )
        node, corners = self.at_nodes
        return Simplices(node, self.points[corners])


def sub_simplices(points: Array, elements: Index) -> SubSimplices:
    """All sub-simplices: a block over all elements for each choice of an edge (and of a face at it) in an element."""
    dimension, count = points.shape[1], len(points)
    circumcentre = circumcentres(points, elements)
    first_circumcentre = count
    blocks, added, ends, corners, areas, lengths = count + len(elements), [points, circumcentre], [], [], [], []
    for a, b in combinations(range(dimension + 1), 2):
        rest = [k for k in range(dimension + 1) if k not in (a, b)]
        for others in permutations(rest):
            chain = [points[elements[:, k]] for k in (a, b, *others)]
            midpoint, along = 0.5 * (chain[0] + chain[1]), chain[1] - chain[0]
            length = np.linalg.norm(along, axis=1)
            steps, area = [midpoint], np.ones(len(elements))
            if dimension == 3:
                steps.append(_triangle_circumcentres(*chain[:3]))
                normal = np.cross(along, chain[2] - chain[0])
                area = 0.5 * _signed_distance(chain[3] - chain[0], normal, circumcentre - steps[1])
            inward = chain[2] - midpoint
            inward -= ((inward * along).sum(axis=1) / length**2)[:, None] * along
            area *= _signed_distance(inward, inward, (circumcentre if dimension == 2 else steps[1]) - midpoint)
            number = np.arange(len(elements), dtype=np.int32)
            ids = [blocks + step * len(elements) + number for step in range(len(steps))]
            blocks += len(steps) * len(elements)
            added += steps
            ends.append(elements[:, [a, b]])
            corners.append(np.stack([*ids, first_circumcentre + number], axis=1))
            areas.append(area)
            lengths.append(length)
    pairs = np.sort(np.concatenate(ends), axis=1)
    edges, edge = np.unique(pairs[:, 0].astype(np.int64) * count + pairs[:, 1], return_inverse=True)
    return SubSimplices(
        np.concatenate(added),
        np.concatenate(ends),
        np.concatenate(corners),
        np.concatenate(areas),
        np.concatenate(lengths),
        freeze_index(edge),
        freeze_index(np.stack(np.divmod(edges, count), axis=1)),
    )


def _signed_distance(towards: Array, normal: Array, step: Array) -> Array:
    """The component of `step` along the normal, oriented towards the side of `towards` (pair,)."""
    unit = normal * (np.sign((normal * towards).sum(axis=1)) / np.linalg.norm(normal, axis=1))[:, None]
    return np.asarray((step * unit).sum(axis=1))


def _triangle_circumcentres(a: Array, b: Array, c: Array) -> Array:
    """Circumcentres of triangles in space (triangle, 3)."""
    p, q = b - a, c - a
    normal = np.cross(p, q)
    pp, qq = (p**2).sum(axis=1)[:, None], (q**2).sum(axis=1)[:, None]
    return np.asarray(
        a + (qq * np.cross(normal, p) + pp * np.cross(q, normal)) / (2 * (normal**2).sum(axis=1))[:, None]
    )
