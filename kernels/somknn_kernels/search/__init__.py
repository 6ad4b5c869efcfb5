"""The loops of nearest-neighbour search: propose by a bound, decide by exact distances.

| file | which search |
| --- | --- |
| `brute.py` | every query with every row |
| `brute_screen.py` | the same by coarser codes first, where exact products are slow |
| `pruned.py` | short vectors first, panel by panel, nearest cells first |
| `candidates.py` | what a scan could not rule out, until it is worth an exact comparison |
| `tree.py`, `tree_build.py` | few columns: only the boxes of a tree that are near enough; how the tree is made |
| `self_search.py`, `place_seeds.py` | rows searched for themselves, each pair once; their first upper bounds |
| `cell_order.py` | an order of the rows that keeps panels compact |
| `byte_screen.py` | the nearest of a few vectors to many rows of bytes |
| `codebook_search.py`, `codebook_missing.py` | the two nearest units of a codebook; rows with missing values |
| `codebook_rows.py` | the rows of a chunk as integers and codes, for that search |

    D = cdist(Q, T, "sqeuclidean")
    neighbours = np.lexsort((np.broadcast_to(np.arange(n), D.shape), D))[:, :k]       # ties go to the lowest row
"""
