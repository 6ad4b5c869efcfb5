"""What the neighbours of a query say together: class votes, class shares, weighted means.

Every kernel takes the neighbours of a query in their order (distance, then row) and adds in float64 in that order. So
results are the same bits for any number of threads. Callers cut the queries into slices. Each task has `votes`, its
scratch, of its own.

Cost per query: O(k) operations, 16·k bytes of neighbours and k random reads of codes or targets. The number of classes
does not matter: only those that occur among the neighbours are touched.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel


@kernel
def inverse_distance_weights(distances, out):
    """Weights 1/distance; neighbours at distance zero take all (scikit-learn's rule).

    Parameters
    ----------
    distances : (m, k) float64
    out : (m, k) float64
        1/distances. In a row where that is infinite for some neighbours, 1 for those and 0 for the others.
    """
    n_queries, k = distances.shape
    for q in range(n_queries):
        infinite = False
        for r in range(k):
            weight = 1.0 / distances[q, r]
            out[q, r] = weight
            infinite = infinite or np.isinf(weight)
        if infinite:
            for r in range(k):
                out[q, r] = 1.0 if np.isinf(out[q, r]) else 0.0


@inlined
def _add_votes(codes, neighbours, weights, q, votes):
    """Add the votes of query `q` to `votes`; returns their total."""
    total = 0.0
    for r in range(neighbours.shape[1]):
        weight = 1.0
        if weights is not None:
            weight = weights[q, r]
        votes[codes[neighbours[q, r]]] += weight
        total += weight
    return total


@kernel
def vote(codes, neighbours, squared, weights, nearest_first, votes, out):
    """The class with the largest sum of weights for each query.

    Parameters
    ----------
    codes : (n,) int32
        Class code of each row, 0 to c - 1.
    neighbours : (m, k) int64
        Rows, nearest first.
    squared : (m, k) int64 or float64
        Their squared distances.
    weights : (m, k) float64 or None
        Weight of each neighbour, not negative; None counts each as 1.
    nearest_first : bool
        Who wins among classes with equal sums. True: the one that holds the nearest neighbour, then the smaller code.
        False: the smaller code.
    votes : (c,) float64
        Scratch; zeros on entry and on return.
    out : (m,) int32
        Winning codes.
    """
    n_queries, k = neighbours.shape
    for q in range(n_queries):
        _add_votes(codes, neighbours, weights, q, votes)
        best = codes[neighbours[q, 0]]
        # The rank at which the leading class was first met: its nearest neighbour.
        best_rank = 0
        for r in range(1, k):
            code = codes[neighbours[q, r]]
            if votes[code] > votes[best]:
                best, best_rank = code, r
            elif votes[code] < votes[best] or code >= best:
                continue
            elif not nearest_first or squared[q, r] == squared[q, best_rank]:
                best = code
        out[q] = best
        for r in range(k):
            votes[codes[neighbours[q, r]]] = 0.0


@kernel
def vote_shares(codes, neighbours, weights, votes, out):
    """Each class's share of the total weight, for each query.

    Parameters
    ----------
    codes, neighbours, weights, votes
        As in `vote`.
    out : (m, c) float64
        Zeros on entry; only the classes that occur among a query's neighbours are written.
    """
    n_queries, k = neighbours.shape
    for q in range(n_queries):
        total = _add_votes(codes, neighbours, weights, q, votes)
        for r in range(k):
            code = codes[neighbours[q, r]]
            if votes[code] != 0.0:
                out[q, code] = votes[code] / total
                votes[code] = 0.0


@kernel
def weighted_means(targets, neighbours, weights, out):
    """The weighted mean of the neighbours' targets, for each query and output.

    Parameters
    ----------
    targets : (n, o) float64
        Targets of each row.
    neighbours, weights
        As in `vote`.
    out : (m, o) float64
        Σ weight·target / Σ weight.
    """
    n_queries, k = neighbours.shape
    n_outputs = targets.shape[1]
    for q in range(n_queries):
        for o in range(n_outputs):
            out[q, o] = 0.0
        total = 0.0
        for r in range(k):
            row = neighbours[q, r]
            weight = 1.0
            if weights is not None:
                weight = weights[q, r]
            total += weight
            for o in range(n_outputs):
                out[q, o] += weight * targets[row, o]
        for o in range(n_outputs):
            out[q, o] /= total
