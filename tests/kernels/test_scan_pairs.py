"""The tile for searching rows among themselves: no pair within its larger reach is lost, and results are correct."""

import numpy as np
import pytest

from somknn.search.embedding import Embedding
from somknn.search.pruned import PrunedSearch
from somknn.search.self_search import _places
from somknn_kernels import isa as isa_module
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.scan_tiles import scan_pairs


@kernel
def scan(isa, places, half_squares, tops, masks, combined):
    packed, panels, half_norms, offsets = places.packed, places.panels, places.half_norms, places.offsets
    for t in range(packed.shape[0]):
        for panel in range(panels.shape[1]):
            found = scan_pairs(
                isa, packed, t, panels, half_norms, panel, offsets, half_squares, tops[t], masks[t, panel]
            )
            combined[t, panel] = found


@pytest.mark.parametrize("name", [None, "portable", "vnni-emulated"])
@pytest.mark.parametrize("share", [0.1, 0.5, 2.0])
def test_pairs(name, share):
    isa = isa_module.select(name)
    rng = np.random.default_rng(3)
    rows = np.clip(rng.normal(100, 30, (9, 70))[rng.integers(0, 9, 700)] + rng.normal(0, 12, (700, 70)), 0, 255)
    search = PrunedSearch(rows.astype(np.uint8), Embedding(rows.astype(np.uint8), isa), 1)
    places = _places(search, np.arange(700), 1)
    n_panels, panel_rows = places.panels.shape[1], places.panels.shape[3]
    n_tiles, _, tile, _ = places.packed.shape
    n_places = n_panels * panel_rows
    codes = places.panels.transpose(1, 3, 0, 2, 4).reshape(n_places, -1).astype(np.int64) - search.screen.lift
    codes[places.order < 0] = 0
    width = codes.shape[1]
    sections = [slice(0, width // 4), slice(0, width // 2), slice(0, width)]
    halves = [((codes[:, None, to] - codes[None, :, to]) ** 2).sum(axis=2) / 2 for to in sections]

    # Reaches as a share of the distances, some of them wide, ascending from section to section.
    most = 2**16 - 4 if places.half_squares.dtype == np.uint16 else 2**32 - 4
    first = rng.uniform(0.3, 1.0, n_places) * share * np.median(halves[0])
    first[::97] = most
    half_squares = places.half_squares
    for section in range(3):
        grown = first * (1, 1.3, 1.6)[section] + rng.uniform(0, 20, n_places) * section
        grown = np.maximum(np.minimum(grown, most), half_squares[max(section - 1, 0)].ravel()[:n_places])
        half_squares[section].ravel()[:n_places] = grown.astype(half_squares.dtype)
    flat = half_squares.reshape(3, -1)
    own = np.arange(n_tiles * tile).reshape(n_tiles, tile)
    tops = np.stack([flat[0][own].max(axis=1), (flat[1] - flat[0])[own].max(axis=1)], axis=1)

    masks, combined = np.zeros((n_tiles, n_panels, tile), np.uint64), np.zeros((n_tiles, n_panels), np.uint64)
    scan(isa, places, half_squares, tops, masks, combined)
    masks[combined == 0] = 0
    np.testing.assert_array_equal(np.bitwise_or.reduce(masks, axis=2), combined)
    bits = masks[..., None] >> np.arange(panel_rows, dtype=np.uint64) & np.uint64(1) == 1
    kept = bits.transpose(0, 2, 1, 3).reshape(n_tiles * tile, n_places)[:n_places]

    real = places.order >= 0
    pairs = real[:, None] & real
    larger = [np.maximum.outer(flat[section][:n_places], flat[section][:n_places]) for section in range(3)]
    of_use = pairs.copy()
    for half, reach in zip(halves, larger, strict=True):
        of_use &= (half <= reach) | (reach == most)
    assert (kept & of_use == of_use).all()
    near_enough = (halves[2] <= larger[2] + 3) | (larger[2] == most) | (halves[2] >= most)
    assert not (kept & pairs & ~near_enough).any()
    assert (combined != 0).mean() < 1 or share == 2.0
