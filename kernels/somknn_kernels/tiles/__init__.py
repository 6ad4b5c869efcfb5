"""Register tiles: a few queries times one panel of rows, with every sum in a register.

| file | what one call computes |
| --- | --- |
| `products.py` | inner products of 4-byte groups: float32, 16-bit and 8-bit integers |
| `scan_tiles.py` | which rows of a panel a bound cannot rule out, left early (bytes) |
| `sections.py` | what `scan_tiles.py` and `score_tiles.py` share |
| `score_tiles.py` | scores of whole panels, and how many lie below a threshold |
| `sieve_tile.py` | as a scan, with a threshold for each row |
| `row_products.py` | inner products of 16-bit integers: rows with rows, rows with axes |
| `weighted_tiles.py` | sums of float64 rows with weights |
| `tree_tiles.py` | one query against the boxes of a node, and the rows of a leaf; short lists in registers |
| `packing.py` | rows into the layout that `products.py` reads |

The formula, and the same in NumPy:

    out[j, r] = Σ_c Q[j, c]·T[r, c]          out = Q @ T.T
"""
