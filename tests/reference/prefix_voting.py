"""Reference implementations of `somknn_kernels.votes.prefix_voting`."""

import numpy as np


def keep_allowed(indices, squared, allowed, codes, out_codes, out_squared, found):
    for q in range(len(indices)):
        ranks = np.flatnonzero(allowed[indices[q]])[: out_codes.shape[1]]
        out_codes[q, : len(ranks)] = codes[indices[q, ranks]]
        out_squared[q, : len(ranks)] = squared[q, ranks]
        found[q] = len(ranks)


def vote_every_k(neighbour_codes, squared, weights, nearest_first, votes, first_rank, out):
    for q, row in enumerate(neighbour_codes):
        for k in range(1, len(row) + 1):
            sums = {}
            nearest = {}
            for r in range(k):
                sums[row[r]] = sums.get(row[r], 0.0) + (1.0 if weights is None else weights[q, r])
                nearest.setdefault(row[r], squared[q, r])
            tied = [code for code in sums if sums[code] == max(sums.values())]
            out[k - 1, q] = min(tied, key=lambda code: (nearest[code] if nearest_first else 0, code))
