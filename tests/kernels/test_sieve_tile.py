"""The sieve's tile against plain matrix products, on every instruction path."""

import numpy as np
import pytest

from reference import seeding as reference
from somknn_kernels import isa as isa_module
from somknn_kernels.ir.layout import scan_panels, scan_queries
from somknn_kernels.ir.shapes import scan_group, scan_panel_rows
from somknn_kernels.policy import kernel
from somknn_kernels.tiles import sieve_tile

PATHS = [*isa_module.supported(), "vnni-emulated"]


@kernel
def run_sieve(isa, candidates, tile, offsets, panels, starts, tops, panel, masks):
    return sieve_tile.sieve_tile(isa, candidates, tile, offsets, panels, starts, tops, panel, masks)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("columns", [16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_twin(name, columns, seed):
    isa = isa_module.select(name)
    g, n_rows, m = scan_group(isa), scan_panel_rows(isa), 2 * sieve_tile.CANDIDATES
    bits, dtype = (16, np.int16) if g == 2 else (32, np.int32)
    limits = np.iinfo(dtype)
    random = np.random.default_rng(seed)
    codes, rows = random.integers(-90, 91, (m, columns)), random.integers(0, 181, (3, n_rows, columns))
    codes[0], rows[:, 0] = 90, 180  # the largest pairs of products, which must not saturate
    codes[1] = -90
    offsets = random.integers(limits.min, limits.max, m)
    starts = random.integers(limits.min, limits.max, (3, n_rows))
    starts[:, 1] = limits.min - (codes[2] @ rows[:, 1].T + offsets[2])  # candidate 2 is as near to row 1 as possible
    tops = random.integers(limits.min, limits.max, (3, n_rows))
    tops[:, 1] = limits.min
    tops[:, 2] = limits.max  # all candidates pass

    queries = scan_queries(isa, sieve_tile.CANDIDATES).pack(codes)
    panels = scan_panels(isa, parts=1).pack(rows.reshape(-1, columns))
    masks = np.zeros(sieve_tile.CANDIDATES, np.uint64)
    given = queries, offsets.reshape(2, -1).astype(dtype), panels
    for panel in range(3):
        for tile in range(2):
            some = run_sieve(
                isa, given[0], tile, given[1], given[2], starts.astype(dtype), tops.astype(dtype), panel, masks
            )
            own = slice(tile * sieve_tile.CANDIDATES, (tile + 1) * sieve_tile.CANDIDATES)
            wanted = reference.sieve_masks(codes[own], offsets[own], rows[panel], starts[panel], tops[panel], bits)
            found = (masks[:, None] >> np.arange(n_rows, dtype=np.uint64)) & np.uint64(1)
            np.testing.assert_array_equal(found.astype(bool), wanted)
            assert int(some) == int(np.bitwise_or.reduce(masks))
            assert wanted[:, 2].all()
            assert not wanted.all()
            assert tile or wanted[2, 1]
