"""The FAISS-specific part: create, train and fill its indexes, set their one search parameter, measure their size.

FAISS is imported on first use. Its vectors are float32; `FaissIndex` decides their contents.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

NAMES = ("flat", "ivf", "ivfpq", "hnsw", "sq8")
# Training rows per K-Means cell: FAISS warns below 39 and uses 256 at most. 64 takes a quarter of the time of 256.
_ROWS_PER_CELL = 64
_LEAST_TRAINING_ROWS = 65_536  # 256 for each of the 256 centroids of a product quantizer
_BLOCK = 32_768  # rows per call; FAISS briefly holds a second float32 copy of them


def require_faiss() -> ModuleType:
    """The module `faiss`; ImportError, in one line, if it is not installed."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            raise
        raise ImportError("backend='faiss' needs faiss: pip install 'somknn[faiss]', or use backend='numba'") from None
    return faiss


@contextlib.contextmanager
def faiss_threads(n_threads: int) -> Iterator[None]:
    """Run FAISS, and the BLAS inside it, with `n_threads` threads; the previous setting is restored at the end."""
    faiss = require_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n_threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextlib.contextmanager
def faiss_errors(what: str) -> Iterator[None]:
    """Convert FAISS's own exceptions to a one-line ValueError, without the location in its source code."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = re.sub(r"^Error in .*? at \S+?:\d+:\s*", "", " ".join(str(error).split()))
        raise ValueError(f"{what}: FAISS says: {reason or type(error).__name__}") from None


def default_nlist(n: int) -> int:
    """Cells of an inverted file for n rows: the power of two nearest to 4·√n, with at least 39 rows per cell."""
    wanted = 2 ** round(np.log2(4 * np.sqrt(n)))
    return max(1, min(int(wanted), n // 39))


def make(spec: str, n: int, d: int, *, nlist: int | None, as_bytes: bool) -> Any:
    """An empty FAISS index for n rows of d features.

    spec : one of NAMES, or a string for FAISS's `index_factory`
    as_bytes : the rows are whole numbers from 0 to 255, so "sq8" may store them unchanged

    Raises ValueError for a string that FAISS does not understand, or an index that needs more rows.
    """
    faiss = require_faiss()
    if spec not in ("ivf", "ivfpq") and nlist is not None:
        raise ValueError(f"nlist belongs to index='ivf' and 'ivfpq', not to {spec!r}")
    cells = default_nlist(n) if nlist is None else nlist
    if cells > n:
        raise ValueError(f"nlist must be at most the number of rows, {n}; got {cells}")
    if spec == "sq8" and as_bytes:
        return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2)
    if spec == "ivfpq":
        if n < 256:
            raise ValueError(f"index='ivfpq' needs 256 rows or more to train on, got {n}; use index='flat'")
        # 64 bytes per row, each for 4 rotated principal axes: PCA and rotation distribute unequal variances over the
        # bytes.
        parts = max(1, min(256, d) // 4)
        # "np": without polysemous codes, which are not used here and take 3 s per byte to train.
        text = f"PCAR{4 * parts},IVF{cells},PQ{parts}np" if d >= 4 else f"IVF{cells},PQ{d}np"
    else:
        text = {"flat": "Flat", "ivf": f"IVF{cells},Flat", "hnsw": "HNSW32,Flat", "sq8": "SQ8"}.get(spec, spec)
    names = ", ".join(map(repr, NAMES))
    with faiss_errors(f"index={spec!r} is none of {names}, nor a factory string for {d} features"):
        index = faiss.index_factory(d, text)
    ivf = inverted_file(index)
    if ivf is not None:
        ivf.cp.max_points_per_centroid = _ROWS_PER_CELL
        # Few rows are the caller's choice, so suppress FAISS's warning on stderr.
        ivf.cp.min_points_per_centroid = 1
        if hasattr(ivf, "pq"):
            ivf.pq.cp.min_points_per_centroid = 1
    return index


# Factory strings that a model file may ask FAISS to make: the allowed parts, and the largest value of each number in
# them, where "n" and "d" are the numbers of rows and features. FAISS accepts any number and allocates memory for it.
_STORABLE: tuple[tuple[str, tuple[int | str, ...]], ...] = (
    (r"R?Flat|SQ(?:4|6|8|fp16|bf16|8_direct|8_direct_signed)", ()),
    (r"(?:PCA|PCAR|PCAW|PCAWR|RR|OPQ)(\d{1,9})", ("d",)),
    (r"OPQ(\d{1,9})_(\d{1,9})", ("d", "d")),
    (r"IVF(\d{1,9})", ("n",)),
    (r"HNSW(\d{1,9})", (256,)),
    (r"PQ(\d{1,9})(?:fsr?|np)?", ("d",)),
    (r"PQ(\d{1,9})x(\d{1,9})(?:fsr?|np)?", ("d", 12)),
)


def check_storable(spec: str, n: int, d: int) -> None:
    """Raise ValueError for a factory string that is not allowed in a model file."""
    for part in [] if spec in NAMES else spec.split(","):
        if not _is_storable(part, {"n": n, "d": d}):
            raise ValueError(
                f"a saved index may not be made by {part[:40]!r}; fit it anew, or choose one of {', '.join(NAMES)}"
            )


def _is_storable(part: str, lengths: dict[str, int]) -> bool:
    for pattern, largest in _STORABLE:
        found = re.fullmatch(pattern, part, re.ASCII)
        if found is not None:
            bounds = [lengths[bound] if isinstance(bound, str) else bound for bound in largest]
            return all(1 <= int(number) <= bound for number, bound in zip(found.groups(), bounds, strict=True))
    return False


def inverted_file(index: Any) -> Any:
    """The inverted file in an index, behind any transforms; None if there is none."""
    faiss = require_faiss()
    try:
        ivf = faiss.try_extract_index_ivf(index)
    except RuntimeError:
        return None
    return None if ivf is None else faiss.downcast_index(ivf)


def effort_of(index: Any) -> tuple[str | None, int]:
    """The name of the search parameter that trades speed for recall, and its largest useful value."""
    ivf = inverted_file(index)
    if ivf is not None:
        return "nprobe", int(ivf.nlist)
    return ("ef_search" if _graph(index) is not None else None), max(1, int(index.ntotal))


def _graph(index: Any) -> Any:
    faiss = require_faiss()
    inner = faiss.downcast_index(index)
    while hasattr(inner, "chain") or isinstance(inner, faiss.IndexIDMap):
        inner = faiss.downcast_index(inner.index)
    inner = faiss.downcast_index(inner.base_index) if isinstance(inner, faiss.IndexRefine) else inner
    return getattr(inner, "hnsw", None)


def compared_as_bytes(index: Any) -> tuple[int, int] | None:
    """The range of whole numbers that an index can distinguish if it compares bytes (QT_8bit_direct); None for others.

    At some widths such an index clips queries to this range, at others not: in faiss-cpu 1.15, at multiples of 16 with
    AVX2 (of 32 or 64 with wider registers), never without vector instructions. Behind a transform, neither rows nor
    queries are bytes any more.
    """
    faiss = require_faiss()
    inner = faiss.downcast_index(index)
    while isinstance(inner, faiss.IndexIDMap | faiss.IndexRefine):
        inner = faiss.downcast_index(inner.index if isinstance(inner, faiss.IndexIDMap) else inner.base_index)
    inner = faiss.downcast_index(inner.storage) if hasattr(inner, "hnsw") else inner
    kinds = {faiss.ScalarQuantizer.QT_8bit_direct: (0, 255), faiss.ScalarQuantizer.QT_8bit_direct_signed: (-128, 127)}
    return kinds.get(inner.sq.qtype) if hasattr(inner, "sq") else None


def set_effort(index: Any, name: str, value: int) -> None:
    """Set "nprobe" or "ef_search", also inside transforms and refinements."""
    faiss = require_faiss()
    with faiss_errors(f"{name}={value}"):
        faiss.ParameterSpace().set_index_parameter(index, {"ef_search": "efSearch"}.get(name, name), float(value))


def train(index: Any, n: int, floats: Callable[[np.ndarray], np.ndarray]) -> None:
    """Train on a sample of n rows, always the same one; `floats(positions)` returns float32 rows."""
    if index.is_trained:
        return
    ivf = inverted_file(index)
    wanted = max(_LEAST_TRAINING_ROWS, 0 if ivf is None else _ROWS_PER_CELL * int(ivf.nlist))
    positions = np.arange(n)
    if wanted < n:
        positions = np.sort(np.random.RandomState(0).choice(n, wanted, replace=False))
    with faiss_errors(f"training on {len(positions)} rows"):
        index.train(floats(positions))


def fill(index: Any, start: int, stop: int, floats: Callable[[np.ndarray], np.ndarray]) -> None:
    """Add the rows at the positions [start, stop), in blocks."""
    for part in blocks(start, stop):
        with faiss_errors(f"adding the rows from {part[0]} on"):
            index.add(floats(part))


def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
    """The positions [start, stop) in blocks whose float32 vectors take little memory."""
    for first in range(start, stop, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, stop))


def n_bytes(index: Any) -> int:
    """Length of the index in FAISS's own format, computed without a full copy."""
    faiss = require_faiss()
    total = 0

    def count(part: bytes) -> int:
        nonlocal total
        total += len(part)
        return len(part)

    writer = faiss.PyCallbackIOWriter(count)
    faiss.write_index(index, writer)
    del writer  # flushes what it still holds
    return total
