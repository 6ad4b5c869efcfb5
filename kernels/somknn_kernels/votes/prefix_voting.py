"""Votes of the first 1, 2, … K neighbours of a query, all from one list: what a search for the best k needs.

Adding a neighbour changes the votes of one class only. So the leader of k + 1 neighbours is the leader of k or the
class just added. All K predictions together cost what the last one costs: O(K) operations per query, 16·K bytes read.
"""

from somknn_kernels.policy import kernel


@kernel
def keep_allowed(indices, squared, allowed, codes, out_codes, out_squared, found):
    """The first K neighbours of each query that are allowed, in their order.

    Parameters
    ----------
    indices : (m, L) int64
        Rows, nearest first.
    squared : (m, L) int64 or float64
        Their squared distances.
    allowed : (n,) bool
        Rows that may be neighbours.
    codes : (n,) int32
        Class code of each row.
    out_codes : (m, K) int32
    out_squared : (m, K), dtype of `squared`
        Class codes and squared distances of the first K allowed neighbours.
    found : (m,) int64
        How many there were, at most K. What lies behind them is not written.

    Exact. Cost per query: at most L steps, until K are found.
    """
    n_queries, length = indices.shape
    k = out_codes.shape[1]
    for q in range(n_queries):
        kept = 0
        for r in range(length):
            row = indices[q, r]
            if allowed[row]:
                out_codes[q, kept] = codes[row]
                out_squared[q, kept] = squared[q, r]
                kept += 1
                if kept == k:
                    break
        found[q] = kept


@kernel
def vote_every_k(neighbour_codes, squared, weights, nearest_first, votes, first_rank, out):
    """The winning class of the first k neighbours, for every k.

    Parameters
    ----------
    neighbour_codes : (m, K) int32
        Class codes of the neighbours, nearest first.
    squared : (m, K) int64 or float64
        Squared distances.
    weights : (m, K) float64 or None
        Not negative; None counts each neighbour as 1. Added in float64 in the order of the neighbours.
    nearest_first : bool
        Who wins among equal sums. True: the class that holds the nearest neighbour, then the smaller code.
        False: the smaller code.
    votes : (c,) float64
        Scratch; zeros on entry and on return.
    first_rank : (c,) int64
        Scratch; -1 on entry and on return.
    out : (K, m) int32
        out[k - 1, q] is the winner among the first k neighbours of query q.

    Cost per query: O(K) operations, whatever the number of classes.
    """
    n_queries, k = neighbour_codes.shape
    for q in range(n_queries):
        best = neighbour_codes[q, 0]
        for r in range(k):
            code = neighbour_codes[q, r]
            if first_rank[code] < 0:
                first_rank[code] = r
            weight = 1.0
            if weights is not None:
                weight = weights[q, r]
            votes[code] += weight
            if votes[code] > votes[best]:
                best = code
            elif votes[code] == votes[best] and code != best:
                mine = squared[q, first_rank[code]]
                other = squared[q, first_rank[best]]
                # A smaller code that was met at the same distance wins under either rule.
                if (nearest_first and mine < other) or ((not nearest_first or mine == other) and code < best):
                    best = code
            out[r, q] = best
        for r in range(k):
            votes[neighbour_codes[q, r]] = 0.0
            first_rank[neighbour_codes[q, r]] = -1
