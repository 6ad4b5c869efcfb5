"""Find the cheapest setting of a FAISS index that reaches a recall, and measure the recall of a setting."""

import warnings

import numpy as np

from somknn.neighbors import recall
from somknn.neighbors.faiss_shortlist import Setting, Shortlist

_LONGEST_SHORTLIST = 2048


def recalls(
    shortlist: Shortlist, setting: Setting, queries: np.ndarray, k: int, exact_kth: np.ndarray, n_threads: int
) -> np.ndarray:
    """Share of each query's k nearest that is found, (m,); 1 for queries answered by exact search instead of FAISS."""
    found = recall.recalls(shortlist.search(queries, k, n_threads, setting)[0], exact_kth)
    found[~shortlist.may_be_asked(queries)] = 1.0
    return found


def tuned(
    shortlist: Shortlist,
    queries: np.ndarray,
    k: int,
    exact_kth: np.ndarray,
    target: float,
    n_threads: int,
    longer_lists: bool,
) -> tuple[Setting, float]:
    """The cheapest setting that reaches `target`, and its mean recall on `queries`.

    longer_lists : whether `rerank` may be doubled
    """
    setting = shortlist.setting

    def at_least(effort: int | None) -> float:
        tried = setting._replace(effort=effort)
        return recall.at_least(recalls(shortlist, tried, queries, k, exact_kth, n_threads))

    start = k if shortlist.parameter == "ef_search" else 1
    while True:
        if shortlist.parameter is None:
            reached = at_least(None)
        else:
            effort, reached = recall.cheapest(at_least, start, shortlist.limit, target)
            setting = setting._replace(effort=effort)
        longest = min(_LONGEST_SHORTLIST, shortlist.n_rows)
        if reached >= target or not longer_lists or 2 * setting.rerank * k > longest:
            return setting, float(recalls(shortlist, setting, queries, k, exact_kth, n_threads).mean())
        # More cells do not help: the compressed rows ranked the missing neighbours too low.
        setting = setting._replace(rerank=2 * setting.rerank)


def tune_and_measure(
    shortlist: Shortlist,
    queries: np.ndarray,
    k: int,
    exact_kth: np.ndarray,
    target: float,
    n_threads: int,
    longer_lists: bool,
) -> tuple[Setting, float]:
    """The setting chosen on every second query, and its mean recall on the others; a single query serves for both."""
    second = min(1, len(queries) - 1)
    # Kernels need contiguous rows.
    to_choose, to_measure = (np.ascontiguousarray(queries[part::2]) for part in (0, second))
    setting, reached = tuned(shortlist, to_choose, k, exact_kth[::2], target, n_threads, longer_lists)
    if reached < target:
        warnings.warn(
            f"target_recall={target} is out of reach of index={shortlist.spec!r} on these rows: "
            f"{reached:.4f} is what it gives",
            stacklevel=3,
        )
    return setting, float(recalls(shortlist, setting, to_measure, k, exact_kth[second::2], n_threads).mean())
