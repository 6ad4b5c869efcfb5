"""Recall of an approximate search against exact answers, and the cheapest setting that reaches a target."""

from collections.abc import Callable

import numpy as np

_LARGEST_SAMPLE, _LEAST_SAMPLE = 1000, 10
_FINENESS = 16  # the search for the cheapest value stops within a sixteenth of it
_FLAT_GAIN = 0.002  # after three doublings in a row that gain less, the search gives up


def held_out(n: int) -> np.ndarray:
    """Positions of up to 1,000 of n rows, at most a tenth, ascending; always the same for the same n.

    Empty for fewer than 100 rows: ten answers say little.
    """
    size = min(_LARGEST_SAMPLE, n // 10)
    return np.sort(np.random.RandomState(1).choice(n, size if size >= _LEAST_SAMPLE else 0, replace=False))


def without(indices: np.ndarray, distances: np.ndarray, excluded: np.ndarray, k: int) -> np.ndarray | None:
    """The k-th smallest distance of each row of ascending `distances`, ignoring the rows `excluded`.

    None if a list is too short.
    """
    allowed = ~np.isin(indices, excluded)
    rank = np.cumsum(allowed, axis=1)
    if (rank[:, -1] < k).any():
        return None
    return distances[np.arange(len(distances)), np.argmax(rank >= k, axis=1)]


def recalls(distances: np.ndarray, exact_kth: np.ndarray) -> np.ndarray:
    """Each query's share of `distances` (m, k) that are at most its exact k-th distance, (m,).

    Rows at equal distance are equally correct, so ties do not count as errors.
    """
    return (distances <= exact_kth[:, None]).mean(axis=1)


def at_least(recalls: np.ndarray) -> float:
    """The mean minus its standard error: a cautious estimate for queries that are not in the sample."""
    return float(recalls.mean() - recalls.std() / np.sqrt(len(recalls)))


def cheapest(recall_of: Callable[[int], float], start: int, limit: int, target: float) -> tuple[int, float]:
    """The smallest value from `start` to `limit` whose recall is at least `target`, and its recall.

    The value is accurate to a sixteenth.

    `recall_of` is assumed to grow with the value. It is called with doubling values, then by bisection between the last
    two. If the target is out of reach, the result is the value after which three doublings gained nothing, or the
    limit.
    """
    best = min(start, limit)
    below, value, reached = best - 1, best, recall_of(best)
    level, idle = reached, 0
    while reached < target and value < limit and idle < 3:
        below, value = value, min(2 * value, limit)
        reached = recall_of(value)
        if reached - level < _FLAT_GAIN:
            idle += 1
        else:
            level, idle, best = reached, 0, value
    if reached < target:
        return (value, reached) if idle < 3 else (best, level)
    while value - below > max(1, value // _FINENESS):
        middle = (below + value) // 2
        at_middle = recall_of(middle)
        if at_middle >= target:
            value, reached = middle, at_middle
        else:
            below = middle
    return value, reached
