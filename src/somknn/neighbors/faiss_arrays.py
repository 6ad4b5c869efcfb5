"""A filled FAISS index as plain arrays beside the rows, and back.

FAISS's own format repeats every row as float32, and its reader trusts what it reads. So "ivf" is kept as the centres of its
cells and each row's cell, "hnsw" as its links, and both are checked and filled with the rows again; "flat" and "sq8" need nothing
at all. Only what has no such form ("ivfpq", other factory strings) is kept as FAISS's bytes; their digest has been
verified by `somknn.persistence` when they come here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.neighbors import faiss_factory

_LINKS = ("neighbors", "offsets", "levels")


def _form(spec: str) -> str:
    return {"flat": "rebuilt", "sq8": "rebuilt", "ivf": "cells", "hnsw": "links"}.get(spec, "bytes")


def to_arrays(spec: str, engine: Any) -> dict[str, np.ndarray]:
    """What `from_arrays` needs besides the rows."""
    form = _form(spec)
    if form == "cells":
        return _cells(faiss_factory.inverted_file(engine))
    if form == "links":
        return _links(engine.hnsw)
    return {} if form == "rebuilt" else {"bytes": faiss_factory.to_bytes(engine)}


def from_arrays(
    spec: str, engine: Any, n: int, arrays: dict[str, np.ndarray], floats: Callable[[np.ndarray], np.ndarray]
) -> Any:
    """The index of n rows that `to_arrays` was given.

    engine : an empty index for `spec`
    floats : gives the vectors at positions of the index

    Raises ValueError where the arrays do not describe such an index.
    """
    form = _form(spec)
    if form == "cells":
        _fill_cells(faiss_factory.inverted_file(engine), n, _expect(arrays, "centres", "cells"), floats)
    elif form == "links":
        _fill_links(engine, n, _expect(arrays, *_LINKS, "entry"), floats)
    elif form == "bytes":
        (blob,) = _expect(arrays, "bytes")
        if (blob.dtype, blob.ndim) != (np.uint8, 1):
            raise ValueError("the saved FAISS index is not a string of bytes")
        return faiss_factory.from_bytes(blob, n, engine)
    else:
        _expect(arrays)
        faiss_factory.train(engine, n, floats)
        faiss_factory.fill(engine, 0, n, floats)
    return engine


def _expect(arrays: dict[str, np.ndarray], *names: str) -> list[np.ndarray]:
    if set(arrays) != set(names):
        raise ValueError(f"the saved index has {sorted(arrays)}, not {sorted(names)}")
    return [arrays[name] for name in names]


def _cells(ivf: Any) -> dict[str, np.ndarray]:
    faiss = faiss_factory.require_faiss()
    cells = np.empty(ivf.ntotal, np.int32)
    for cell in range(ivf.nlist):
        size = ivf.invlists.list_size(cell)
        if size:
            cells[faiss.rev_swig_ptr(ivf.invlists.get_ids(cell), size)] = cell
    return {"centres": ivf.quantizer.reconstruct_n(0, ivf.nlist), "cells": cells}


def _fill_cells(ivf: Any, n: int, arrays: list[np.ndarray], floats: Callable[[np.ndarray], np.ndarray]) -> None:
    faiss = faiss_factory.require_faiss()
    centres, cells = arrays
    if centres.dtype != np.float32 or centres.shape != (ivf.nlist, ivf.d) or not np.isfinite(centres).all():
        raise ValueError(f"the saved index has centres of shape {centres.shape}, not {(ivf.nlist, ivf.d)}")
    if cells.dtype != np.int32 or cells.shape != (n,) or cells.min() < 0 or cells.max() >= ivf.nlist:
        raise ValueError("the saved index does not put every row into a cell")
    ivf.quantizer.add(centres)
    ivf.is_trained = True
    for part in faiss_factory.blocks(0, n):
        rows, chosen = floats(part), cells[part].astype(np.int64)
        ivf.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(chosen))


def _links(hnsw: Any) -> dict[str, np.ndarray]:
    faiss = faiss_factory.require_faiss()
    found = {name: faiss.vector_to_array(getattr(hnsw, name)) for name in _LINKS}
    found["offsets"] = found["offsets"].astype(np.int64)
    return {**found, "entry": np.array([hnsw.entry_point, hnsw.max_level], np.int64)}


def _fill_links(engine: Any, n: int, arrays: list[np.ndarray], floats: Callable[[np.ndarray], np.ndarray]) -> None:
    faiss = faiss_factory.require_faiss()
    hnsw = engine.hnsw
    neighbours, offsets, levels, entry = arrays
    if [a.dtype for a in arrays] != [np.int32, np.int64, np.int32, np.int64] or any(a.ndim != 1 for a in arrays):
        raise ValueError("the saved graph has arrays of other types")
    # Places of a row's links: those of level l are at starts[l]:starts[l + 1] from the row's offset on.
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
