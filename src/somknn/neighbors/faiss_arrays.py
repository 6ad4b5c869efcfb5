"""Convert a filled FAISS index to plain arrays, stored with the rows in a model file, and back.

FAISS's own format repeats every row as float32, and its reader does not validate its input: bytes that FAISS did not
write can make it write outside its arrays. So no model file contains it. "ivf" is saved as the centres of its cells and
each row's cell; "ivfpq" also as the centroids of its codes and its rotation; "hnsw" as its links. All are checked and
filled with the rows again. "flat" and "sq8" need no arrays. An index without such a form (factory strings) is trained
and filled again, which takes as long as `fit`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.neighbors import faiss_factory
from somknn.neighbors.faiss_factory import require_faiss

_LINKS = ("neighbors", "offsets", "levels")
_CODES = ("centres", "cells", "centroids")


def to_arrays(spec: str, engine: Any) -> dict[str, np.ndarray]:
    """The arrays that `from_arrays` needs in addition to the rows."""
    if spec == "ivf":
        return _cells(faiss_factory.inverted_file(engine))
    if spec == "ivfpq":
        return _codes(engine)
    return _links(engine.hnsw) if spec == "hnsw" else {}


def from_arrays(
    spec: str,
    engine: Any,
    n: int,
    n_first: int,
    arrays: dict[str, np.ndarray],
    floats: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Fill `engine`, an empty index for `spec`, so that it equals the index of n rows given to `to_arrays`.

    n_first : number of rows that were added before the others; a graph depends on it
    floats : returns the vectors at positions of the index

    Raises ValueError if the arrays do not describe such an index.
    """
    if spec == "ivf":
        centres, cells = _expect(arrays, "centres", "cells")
        ivf = faiss_factory.inverted_file(engine)
        _take_centres(ivf, centres)
        _fill_cells(ivf, n, cells, floats)
    elif spec == "ivfpq":
        _fill_codes(engine, n, arrays, floats)
    elif spec == "hnsw":
        _fill_links(engine, n, _expect(arrays, *_LINKS, "entry"), floats)
    else:
        _expect(arrays)
        faiss_factory.train(engine, n, floats)
        faiss_factory.fill(engine, 0, n_first, floats)
        faiss_factory.fill(engine, n_first, n, floats)


def _expect(arrays: dict[str, np.ndarray], *names: str) -> list[np.ndarray]:
    if set(arrays) != set(names):
        raise ValueError(f"the saved index has {sorted(arrays)}, not {sorted(names)}")
    return [arrays[name] for name in names]


def _cells(ivf: Any) -> dict[str, np.ndarray]:
    faiss = require_faiss()
    cells = np.empty(ivf.ntotal, np.int32)
    for cell in range(ivf.nlist):
        size = ivf.invlists.list_size(cell)
        if size:
            cells[faiss.rev_swig_ptr(ivf.invlists.get_ids(cell), size)] = cell
    return {"centres": ivf.quantizer.reconstruct_n(0, ivf.nlist), "cells": cells}


def _codes(engine: Any) -> dict[str, np.ndarray]:
    """The arrays of an inverted file of product-quantized rows: cells, centroids of the codes, optional rotation."""
    faiss = require_faiss()
    ivf, rotation = faiss_factory.inverted_file(engine), _rotation(engine)
    arrays = {**_cells(ivf), "centroids": faiss.vector_to_array(ivf.pq.centroids)}
    if rotation is not None:
        arrays |= {"rotation": faiss.vector_to_array(rotation.A), "shift": faiss.vector_to_array(rotation.b)}
    return arrays


def _rotation(engine: Any) -> Any:
    """The linear transform before an inverted file; None if there is none."""
    faiss = require_faiss()
    engine = faiss.downcast_index(engine)
    return faiss.downcast_VectorTransform(engine.chain.at(0)) if hasattr(engine, "chain") else None


def _fill_codes(engine: Any, n: int, arrays: dict[str, np.ndarray], floats: Callable[[np.ndarray], np.ndarray]) -> None:
    ivf, rotation = faiss_factory.inverted_file(engine), _rotation(engine)
    names = _CODES if rotation is None else (*_CODES, "rotation", "shift")
    centres, cells, centroids, *linear = _expect(arrays, *names)
    _take_centres(ivf, centres)
    _take_floats(ivf.pq.centroids, "centroids", centroids, ivf.pq.M * ivf.pq.ksub * ivf.pq.dsub)
    if rotation is not None:
        _take_floats(rotation.A, "rotation", linear[0], rotation.d_out * rotation.d_in)
        _take_floats(rotation.b, "shift", linear[1], rotation.d_out)
        rotation.have_bias = True
        rotation.is_trained = True
        engine.is_trained = True
    ivf.precompute_table()
    _fill_cells(ivf, n, cells, floats if rotation is None else lambda part: rotation.apply(floats(part)))
    engine.ntotal = n


def _take_floats(vector: Any, name: str, values: np.ndarray, length: int) -> None:
    if values.dtype != np.float32 or values.shape != (length,) or not np.isfinite(values).all():
        raise ValueError(f"the saved index has {name} of shape {values.shape}, not {length} numbers")
    require_faiss().copy_array_to_vector(np.array(values), vector)


def _take_centres(ivf: Any, centres: np.ndarray) -> None:
    if centres.dtype != np.float32 or centres.shape != (ivf.nlist, ivf.d) or not np.isfinite(centres).all():
        raise ValueError(f"the saved index has centres of shape {centres.shape}, not {(ivf.nlist, ivf.d)}")
    ivf.quantizer.add(centres)
    ivf.is_trained = True


def _fill_cells(ivf: Any, n: int, cells: np.ndarray, floats: Callable[[np.ndarray], np.ndarray]) -> None:
    faiss = require_faiss()
    if cells.dtype != np.int32 or cells.shape != (n,) or cells.min() < 0 or cells.max() >= ivf.nlist:
        raise ValueError("the saved index does not put every row into a cell")
    for part in faiss_factory.blocks(0, n):
        rows, chosen = floats(part), cells[part].astype(np.int64)
        ivf.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(chosen))


def _links(hnsw: Any) -> dict[str, np.ndarray]:
    faiss = require_faiss()
    found = {name: faiss.vector_to_array(getattr(hnsw, name)) for name in _LINKS}
    found["offsets"] = found["offsets"].astype(np.int64)
    return {**found, "entry": np.array([hnsw.entry_point, hnsw.max_level], np.int64)}


def _fill_links(engine: Any, n: int, arrays: list[np.ndarray], floats: Callable[[np.ndarray], np.ndarray]) -> None:
    faiss = require_faiss()
    hnsw = engine.hnsw
    neighbours, offsets, levels, entry = arrays
    if [a.dtype for a in arrays] != [np.int32, np.int64, np.int32, np.int64] or any(a.ndim != 1 for a in arrays):
        raise ValueError("the saved graph has arrays of other types")
    # Links of level l are at starts[l]:starts[l + 1], counted from the row's offset.
    starts = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    if levels.shape != (n,) or entry.shape != (2,) or levels.min() < 1 or levels.max() >= len(starts):
        raise ValueError("the saved graph does not give every row a level")
    expected = np.concatenate([[0], np.cumsum(starts[levels])])
    if not np.array_equal(offsets, expected) or neighbours.shape != (expected[-1],):
        raise ValueError("the saved graph has links in wrong places")
    if neighbours.min(initial=0) < -1 or neighbours.max(initial=0) >= n:
        raise ValueError("the saved graph links to rows that do not exist")
    for level in range(1, int(levels.max())):
        there = np.flatnonzero(levels > level)
        places = offsets[there][:, None] + np.arange(starts[level], starts[level + 1])
        linked = neighbours[places]
        if (levels[linked[linked >= 0]] <= level).any():
            raise ValueError("the saved graph links to rows that are not on the same level")
    point, top = (int(value) for value in entry)
    if not 0 <= point < n or top != levels.max() - 1 or levels[point] != top + 1:
        raise ValueError("the saved graph has no entry")
    faiss_factory.fill(engine.storage, 0, n, floats)
    engine.ntotal = n
    for name, array in (("neighbors", neighbours), ("offsets", offsets.astype(np.uint64)), ("levels", levels)):
        faiss.copy_array_to_vector(np.array(array), getattr(hnsw, name))
    hnsw.entry_point, hnsw.max_level = point, top
