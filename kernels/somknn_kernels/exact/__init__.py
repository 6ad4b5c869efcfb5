"""What decides: exact distances, and the k best of them.

| file | what it computes |
| --- | --- |
| `distances.py` | the squared distance of two rows, in the documented order of summation |
| `used_columns.py` | the same for one row of bytes and many others, through the columns that it uses |
| `selection.py` | the k nearest, ordered by (distance, row), or all within a radius |
| `unit_rows.py` | rows scaled to unit length, for the cosine distance |
| `all_distances.py` | the squared distances of rows to all of a few vectors |
| `reranking.py` | the k nearest of a short list that another engine proposed |

    D(q, t) = Σ_c (q[c] - t[c])²             order = np.lexsort((rows, distances))[:k]

Bytes give int64, everything else float64. What other layers rule out is proven to be farther than the k-th of these.
"""
