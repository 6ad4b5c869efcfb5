"""Weights of neighbours, and the voting kernels run over threads."""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.neighbors.validation import check_weights
from somknn_kernels.parallel import resolve_n_threads, run_tasks
from somknn_kernels.votes import voting

_QUERIES_PER_TASK = 8192  # some hundred microseconds of votes: worth waking a thread for


def _over_queries(n_queries: int, n_jobs: int | None, work: Callable[[slice], object]) -> None:
    n_tasks = -(-n_queries // _QUERIES_PER_TASK)

    def task(i: int) -> None:
        work(slice(i * _QUERIES_PER_TASK, (i + 1) * _QUERIES_PER_TASK))

    run_tasks(task, n_tasks, resolve_n_threads(n_jobs))


def neighbour_weights(weights: Any, squared_distances: np.ndarray, n_jobs: int | None) -> np.ndarray | None:
    """Weights (m, k) for the parameter `weights`, or None where all count the same."""
    if weights is None or weights == "uniform":
        return None
    if callable(weights):
        return check_weights(weights(np.sqrt(squared_distances)), squared_distances.shape)
    out = np.empty(squared_distances.shape)

    def work(part: slice) -> None:
        voting.inverse_distance_weights(squared_distances[part], out[part])

    _over_queries(len(out), n_jobs, work)
    return out


def _check_rows(neighbours: np.ndarray, n_rows: int) -> None:
    """Raise ValueError for neighbours (m, k) that are no rows, as those of a damaged index are: kernels look them up."""
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
