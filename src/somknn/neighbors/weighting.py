"""Weights of neighbours, and the voting kernels run over threads."""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.machine import resolve_n_threads, run_tasks
from somknn.neighbors.validation import check_weights
from somknn.search.metrics import EUCLIDEAN, Metric
from somknn_kernels.votes import prefix_voting, voting

_QUERIES_PER_TASK = 8192  # some hundred microseconds of votes: enough to be worth a thread
_LISTS_PER_TASK = 2048  # neighbour lists whose votes are counted for every k


def _over_queries(
    n_queries: int, n_jobs: int | None, work: Callable[[slice], object], at_once: int = _QUERIES_PER_TASK
) -> None:
    def task(i: int) -> None:
        work(slice(i * at_once, (i + 1) * at_once))

    run_tasks(task, -(-n_queries // at_once), resolve_n_threads(n_jobs))


def neighbour_weights(
    weights: Any, squared_distances: np.ndarray, n_jobs: int | None, metric: Metric = EUCLIDEAN
) -> np.ndarray | None:
    """Weights (m, k) for the parameter `weights`, or None if all count the same.

    squared_distances : (m, k), as an index returns them; `metric` says which distances they stand for
    """
    if weights is None or weights == "uniform":
        return None
    if callable(weights):
        return check_weights(weights(metric.distances(squared_distances)), squared_distances.shape)
    out = np.empty(squared_distances.shape)

    def work(part: slice) -> None:
        voting.inverse_distance_weights(metric.distances(squared_distances[part]), out[part])

    _over_queries(len(out), n_jobs, work)
    return out


def winners_of_every_k(
    neighbour_codes: np.ndarray,
    squared_distances: np.ndarray,
    weights: np.ndarray | None,
    n_classes: int,
    *,
    nearest_first: bool,
    n_jobs: int | None,
) -> np.ndarray:
    """The class code that wins the vote of the first k neighbours, for every k, (K, m) int32.

    neighbour_codes : (m, K) int32, class codes of the neighbours, nearest first; squared_distances, weights : (m, K).
    """
    m, k = neighbour_codes.shape
    codes, squared = np.ascontiguousarray(neighbour_codes), np.ascontiguousarray(squared_distances)
    out = np.empty((k, m), np.int32)

    def work(part: slice) -> None:
        mine = np.empty((k, len(codes[part])), np.int32)
        scratch = np.zeros(n_classes), np.full(n_classes, -1)
        prefix_voting.vote_every_k(codes[part], squared[part], _part(weights, part), nearest_first, *scratch, mine)
        out[:, part] = mine

    _over_queries(m, n_jobs, work, _LISTS_PER_TASK)
    return out


def first_allowed(
    neighbours: tuple[np.ndarray, np.ndarray], k: int, allowed: np.ndarray, codes: np.ndarray, n_jobs: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class codes (m, k) and squared distances (m, k) of each query's first k allowed neighbours, and their number.

    neighbours : squared distances and rows, (m, L); allowed : (n,) bool; codes : (n,) int32, of all rows. Entries
    beyond the number are 0.
    """
    squared_distances, indices = neighbours
    m = len(indices)
    found_codes, squared = np.zeros((m, k), np.int32), np.zeros((m, k), squared_distances.dtype)
    found = np.zeros(m, np.int64)

    def work(part: slice) -> None:
        lists = indices[part], squared_distances[part]
        prefix_voting.keep_allowed(*lists, allowed, codes, found_codes[part], squared[part], found[part])

    _over_queries(m, n_jobs, work, _LISTS_PER_TASK)
    return found_codes, squared, found


def _check_rows(neighbours: np.ndarray, n_rows: int) -> None:
    """Raise ValueError for neighbours (m, k) that are not rows, as in a damaged index: kernels index with them."""
    if neighbours.size and not (neighbours.min() >= 0 and neighbours.max() < n_rows):
        query, place = np.argwhere((neighbours < 0) | (neighbours >= n_rows))[0]
        raise ValueError(f"neighbour {neighbours[query, place]} of query {query} is none of the {n_rows} rows")


def _part(weights: np.ndarray | None, part: slice) -> np.ndarray | None:
    return None if weights is None else weights[part]


def winning_codes(
    codes: np.ndarray,
    n_classes: int,
    neighbours: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray | None,
    *,
    nearest_first: bool,
    n_jobs: int | None,
) -> np.ndarray:
    """The class code that wins each query's vote, (m,) int32; `neighbours` are squared distances and rows."""
    squared_distances, indices = neighbours
    _check_rows(indices, len(codes))
    out = np.empty(len(indices), np.int32)

    def work(part: slice) -> None:
        votes = np.zeros(n_classes)
        voting.vote(
            codes,
            indices[part],
            squared_distances[part],
            _part(weights, part),
            nearest_first,
            votes,
            out[part],
        )

    _over_queries(len(out), n_jobs, work)
    return out


def class_shares(
    codes: np.ndarray, n_classes: int, indices: np.ndarray, weights: np.ndarray | None, n_jobs: int | None
) -> np.ndarray:
    """Each class's share of the weights of each query's neighbours, (m, n_classes)."""
    _check_rows(indices, len(codes))
    out = np.zeros((len(indices), n_classes))

    def work(part: slice) -> None:
        voting.vote_shares(codes, indices[part], _part(weights, part), np.zeros(n_classes), out[part])

    _over_queries(len(out), n_jobs, work)
    return out


def mean_targets(
    targets: np.ndarray, indices: np.ndarray, weights: np.ndarray | None, n_jobs: int | None
) -> np.ndarray:
    """Weighted means of the neighbours' targets (n, o), for each query: (m, o)."""
    _check_rows(indices, len(targets))
    out = np.empty((len(indices), targets.shape[1]))

    def work(part: slice) -> None:
        voting.weighted_means(targets, indices[part], _part(weights, part), out[part])

    _over_queries(len(out), n_jobs, work)
    return out
