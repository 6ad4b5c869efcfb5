"""The vocabulary in which tiles are written: LLVM's intermediate representation (IR), from Python.

| file | what it gives |
| --- | --- |
| `emit.py` | instructions: vectors, loops, loads, stores, products of 16-bit and 8-bit integers; arguments |
| `layout.py` | how rows lie in memory for a tile: `Layout`, with pack and unpack |
| `shapes.py` | how many queries, rows and columns a tile takes, for each instruction set |
| `half_floats.py` | float16, which Numba does not have on processors, read as float64 |
| `operations.py` | single instructions that Python has no word for, such as `trailing_zeros` |

Nothing in `emit.py` is called when the library runs. Numba calls it once, while it compiles a kernel that uses a tile.
A function that takes a `builder` appends instructions to the kernel being compiled. In NumPy, one step of
`emit.tile_loop` is

    sums[j, r] += queries[group, j] @ panel[group, r]        # for each query j and row r; `sums` stays in registers
"""
