"""Training of self-organizing maps (SOM).

| file | what it computes |
| --- | --- |
| `som_update.py` | sums by unit smoothed over any grid; one row after the other, with missing values |
| `som_blocks.py`, `som_block_tiles.py` | the classical rule, block of rows by block: any numbers |
| `som_byte_blocks.py`, `som_byte_tiles.py` | the same for bytes: products and moves are integers |
| `smoothing.py` | sums by unit smoothed over a rectangular grid, columns first |
| `relay.py` | threads that hand work to each other within one kernel |

One row x with best unit b moves every unit u by the neighbourhood h and the learning rate α:

    w[u] += α·h(u, b)·(x - w[u])             W += alpha * h[:, None] * (x - W)
"""
