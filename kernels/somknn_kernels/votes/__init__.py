"""Votes of neighbours: classes from lists of neighbours.

| file | what it computes |
| --- | --- |
| `voting.py` | the class of each query, the shares of the classes, weighted means |
| `prefix_voting.py` | the same for every k up to the longest list, in one pass |

    votes[c] = Σ_i weight[i]·[y[neighbour i] = c]          votes = np.bincount(y[neighbours], weights, n_classes)
"""
