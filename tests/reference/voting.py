"""Reference implementations of `somknn_kernels.votes.voting`: one query at a time, plain Python."""

import math

import numpy as np


def inverse_distance_weights(distances):
    weights = np.empty(distances.shape)
    for q, row in enumerate(distances):
        with np.errstate(divide="ignore", over="ignore"):
            inverse = (1.0 / row).tolist()
        if math.inf in inverse:
            inverse = [float(w == math.inf) for w in inverse]
        weights[q] = inverse
    return weights


def _ones_if_none(weights, neighbours):
    return np.ones(neighbours.shape) if weights is None else weights


def _votes(codes, neighbours, weights):
    """For each query: {class: sum of weights}."""
    for row, row_weights in zip(neighbours, _ones_if_none(weights, neighbours), strict=True):
        votes = {}
        for neighbour, weight in zip(row.tolist(), row_weights.tolist(), strict=True):
            code = int(codes[neighbour])
            votes[code] = votes.get(code, 0.0) + weight
        yield votes


def vote(codes, neighbours, squared, weights, nearest_first):
    winners = []
    for q, votes in enumerate(_votes(codes, neighbours, weights)):
        tied = [code for code, total in votes.items() if total == max(votes.values())]
        if nearest_first:
            nearest = {code: min(squared[q][codes[neighbours[q]] == code]) for code in tied}
            tied = [code for code in tied if nearest[code] == min(nearest.values())]
        winners.append(min(tied))
    return np.array(winners, dtype=np.int32)


def vote_shares(codes, neighbours, weights, n_classes):
    shares = np.zeros((len(neighbours), n_classes))
    for q, votes in enumerate(_votes(codes, neighbours, weights)):
        total = 0.0
        for weight in _ones_if_none(weights, neighbours)[q].tolist():
            total += weight
        for code, votes_for_it in votes.items():
            shares[q, code] = votes_for_it / total
    return shares


def weighted_means(targets, neighbours, weights):
    means = np.empty((len(neighbours), targets.shape[1]))
    for q, (row, row_weights) in enumerate(zip(neighbours, _ones_if_none(weights, neighbours), strict=True)):
        for o in range(targets.shape[1]):
            total = weighted = 0.0
            for neighbour, weight in zip(row.tolist(), row_weights.tolist(), strict=True):
                total += weight
                weighted += weight * float(targets[neighbour, o])
            means[q, o] = weighted / total
    return means
