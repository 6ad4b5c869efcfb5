"""What proposes: short integer vectors of rows, with a proof of how far their distances can be from the true ones.

| file | what it computes |
| --- | --- |
| `rounding.py` | factors that keep a bound true in spite of rounding |
| `interval.py` | where the sum of a row that may be a neighbour lies in a scan |
| `rest.py` | the norm that the axes leave out |
| `embedding.py` | short vectors of rows for the pruned search |
| `codebook_codes.py` | short vectors of rows and units for the search of a codebook |
| `codebook_units.py` | the codebook's side of these, computed again in every epoch |

Let Π be the projection on a few axes A, and ρ(x) = ‖x - Πx‖ the norm that the axes leave out (the "rest"). By
Cauchy-Schwarz

    ‖q - t‖² >= ‖Πq - Πt‖² + (ρ(q) - ρ(t))²

    short = np.column_stack([X @ A.T, np.linalg.norm(X - X @ A.T @ A, axis=1)])       # A : orthonormal rows
    assert (cdist(short, short) <= cdist(X, X)).all()
"""
