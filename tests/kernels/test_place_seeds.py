"""Initial bounds for searching rows among themselves: never too low, and exact if everything is compared."""

import numpy as np
import pytest

from reference.place_seeds import bound
from reference.self_search import nearest_apart
from somknn.search.embedding import Embedding
from somknn.search.pruned import PrunedSearch
from somknn.search.self_search import _places
from somknn_kernels import isa as isa_module
from somknn_kernels.ir.shapes import scan_group, scan_panel_rows
from somknn_kernels.policy import kernel
from somknn_kernels.search import place_seeds
from somknn_kernels.tiles import score_tiles

ISAS = [None, "portable", "vnni-emulated"]


@kernel
def up_to(isa, scores, n_panels, limit, counts, masks):
    for line in range(scores.shape[0]):
        counts[line] = score_tiles.count_up_to(isa, scores, line, n_panels, limit)
        for panel in range(n_panels):
            masks[line, panel] = score_tiles.bits_up_to(isa, scores, line, panel, limit)


@pytest.mark.parametrize("name", ISAS)
def test_scores_up_to_a_limit(name):
    isa = isa_module.select(name)
    rows, dtype = scan_panel_rows(isa), np.uint16 if scan_group(isa) == 2 else np.uint32
    largest = np.iinfo(dtype).max
    scores = np.random.default_rng(0).integers(0, largest, (3, 5 * rows), dtype, endpoint=True)
    scores[1, ::2], scores[1, 1::2] = largest, 0
    for limit in (0, int(largest) // 2, int(largest) - 1, int(largest)):
        counts, masks = np.zeros(3, np.int64), np.zeros((3, 5), np.uint64)
        up_to(isa, scores, 5, limit, counts, masks)
        np.testing.assert_array_equal(counts, (scores <= limit).sum(axis=1))
        bits = masks[:, :, None] >> np.arange(rows, dtype=np.uint64) & np.uint64(1)
        np.testing.assert_array_equal(bits.reshape(3, -1) == 1, scores <= limit)


@pytest.mark.parametrize("name", ISAS)
def test_bounds(name):
    isa, k = isa_module.select(name), 7
    rng = np.random.default_rng(1)
    rows = np.clip(rng.normal(100, 12, (6, 60))[rng.integers(0, 6, 500)] + rng.normal(0, 9, (500, 60)), 0, 255)
    rows = rows.astype(np.uint8)
    rows[300:330] = rows[0]  # equal scores
    groups = np.arange(500) % 3
    search = PrunedSearch(rows, Embedding(rows, isa), 1)
    places = _places(search, groups, 1)
    real = places.order >= 0
    exact = nearest_apart(rows, groups, k)[0][:, -1][places.order[real]]
    n_panels = places.panels.shape[1]
    worst = np.iinfo(np.int64).max
    for near in (1, n_panels):
        for wanted in (k, k + 5, min(500, near * places.panels.shape[3])):
            order = (np.arange(n_panels)[:, None] + np.arange(near)) % n_panels
            upper_bounds = np.full(len(real), worst)
            given = upper_bounds, order.astype(np.int32), k, wanted, 0, len(places.packed)
            place_seeds.seed_places(isa, places, *given)
            assert (upper_bounds[real] >= exact).all()
            assert (upper_bounds[~real] == worst).all()
            if near == n_panels:
                assert (upper_bounds[real] < 1.5 * exact).mean() > 0.9
            if wanted == 500:
                np.testing.assert_array_equal(upper_bounds[real], exact)
            tile, panel_rows = places.packed.shape[2], places.panels.shape[3]
            for place in np.flatnonzero(real)[::7]:
                own = order[place // tile * tile // panel_rows]  # the panels near that of the tile's first place
                others = places.order.reshape(n_panels, panel_rows)[own].ravel()
                best = bound(rows, groups, places.order[place], others[others >= 0], k)
                assert upper_bounds[place] >= best
                if wanted >= near * panel_rows or best == worst:
                    assert upper_bounds[place] == best


def test_nearest_panels():
    centres = np.random.default_rng(2).integers(0, 90, (5, 40)).astype(np.float32)
    near = np.zeros((40, 11), np.int32)
    place_seeds.nearest_panels(centres, (centres**2).sum(axis=0) / 2, 0, 40, near)
    squares = ((centres[:, :, None] - centres[:, None, :]) ** 2).sum(axis=0)
    found = np.take_along_axis(squares, near, axis=1)
    np.testing.assert_array_equal(found, np.sort(squares, axis=1)[:, :11])
    assert (near[:, 0] == np.arange(40)).all()
