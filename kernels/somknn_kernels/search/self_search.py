"""The nearest rows of every row among the other rows. Each pair is looked at once, and serves both rows.

This is the scan of `pruned.py` where the queries are the rows. A pair is ruled out if it is of use to neither of its
rows. Pairs that are left are compared exactly once and offered to both rows. The rows lie in the order of their places,
so that near rows are near in memory, and what a tile compares is still in the caches from the tile before. The first
upper bounds come from `place_seeds.py`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from somknn_kernels.bounds.interval import half_square
from somknn_kernels.bounds.rounding import distance_within
from somknn_kernels.exact.selection import push, sift_down_keys, sort_heap
from somknn_kernels.exact.used_columns import distances_through, find_used
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import put_code
from somknn_kernels.tiles.scan_tiles import scan_pairs


class Places(NamedTuple):
    """The rows in the order of their places, and what stands for them in the scan.

    rows : uint8, float32 or float64 (places, d); the columns of bytes are in an order of their own
    order : int32 (places,), the number of the row at each place
    apart : int32 (places,), rows with equal numbers are not each other's neighbours; -1 at places without a row
    packed : int8 (tiles, groups, query tile, 4), panels : uint8 (4, panels, groups / 4, panel rows, g), half_norms :
    int16 or int32 (3, panels, panel rows): the codes as queries and as rows, as `scan_pairs` takes them
    offsets : as half_norms (tiles, 3, query tile)
    half_squares : uint16 or uint32 (3, panels, panel rows), see `set_half_squares`
    errors : float64 (2, 3), the largest error of a usual and of a rare row up to the end of each section
    step : float64; squares : int64 (places,), squared norms of bytes
    used : uint16 or int32 (places, 1 + d // 16), see `find_used`; first_rare : int64, the first place of a rare row
    """

    rows: Any
    order: Any
    apart: Any
    packed: Any
    panels: Any
    half_norms: Any
    offsets: Any
    half_squares: Any
    errors: Any
    step: Any
    squares: Any
    used: Any
    first_rare: Any


class Lists(NamedTuple):
    """The nearest rows so far, as heaps.

    distances : int64 or float64 (places, k), indices : int64 (places, k). If distances are integers below 2^31,
    distances : uint64 (places, k) holds distance · 2^32 + index instead, with half the memory and the comparisons
    upper_bounds : int64 or float64 (places,), the largest distance that is still of use
    """

    distances: Any
    indices: Any
    upper_bounds: Any


def offer_pair(distances, indices, place, distance, index):
    """Offer a row to the list of a place (the first fields of `Lists`); returns the largest distance in it."""
    raise NotImplementedError("only inside kernels")


@overload(offer_pair, inline="never")
def _offer_pair(distances, indices, place, distance, index):
    if distances.dtype == types.uint64:

        def offer_key(distances, indices, place, distance, index):
            key = np.uint64(distance) << np.uint64(32) | np.uint64(index)
            if key < distances[place, 0]:
                distances[place, 0] = key
                sift_down_keys(distances, place, 0, distances.shape[1])
            return np.int64(distances[place, 0] >> np.uint64(32))

        return offer_key

    def offer(distances, indices, place, distance, index):
        push(distances, indices, place, distance, index)
        return distances[place, 0]

    return offer


def take_list(heaps, heap_indices, place, distances, indices, row):
    """Write the list of a place in ascending order to distances[row] and indices[row]. The heap is destroyed."""
    raise NotImplementedError("only inside kernels")


@overload(take_list, inline="never")
def _take_list(heaps, heap_indices, place, distances, indices, row):
    if heaps.dtype == types.uint64:

        def take_keys(heaps, heap_indices, place, distances, indices, row):
            for last in range(heaps.shape[1] - 1, -1, -1):
                key = heaps[place, 0]
                heaps[place, 0] = heaps[place, last]
                sift_down_keys(heaps, place, 0, last)
                distances[row, last] = np.int64(key >> np.uint64(32))
                indices[row, last] = np.int64(key & np.uint64(2**32 - 1))

        return take_keys

    def take(heaps, heap_indices, place, distances, indices, row):
        sort_heap(heaps, heap_indices, place)
        for i in range(heaps.shape[1]):
            distances[row, i] = heaps[place, i]
            indices[row, i] = heap_indices[place, i]

    return take


@kernel
def hand_over(lists, order, first, last, distances, indices):
    """Write the lists of the places [first, last) to the lines of their rows, in ascending order. Destroys `lists`.

    order : int32 (places,); distances : int64 or float64 (n, k); indices : int64 (n, k)
    """
    for place in range(first, last):
        if order[place] >= 0:
            take_list(lists.distances, lists.indices, place, distances, indices, np.int64(order[place]))


@kernel
def pack_places(panels, half_norms, lift, packed, offsets, first_tile, last_tile):
    """Fill `packed` and `offsets` of some tiles from the codes in `panels` (to which `lift` was added)."""
    _, n_panels, groups, panel_rows, g = panels.shape
    tile = packed.shape[2]
    for t in range(first_tile, last_tile):
        for j in range(tile):
            place = t * tile + j
            panel, r = place // panel_rows, place % panel_rows
            if panel >= n_panels:
                continue
            for section in range(3):
                total = np.int64(0)
                first, last = (section, section + 1) if section < 2 else (2, 4)
                for part in range(first, last):
                    for group in range(groups):
                        for c in range(g):
                            code = np.int64(panels[part, panel, group, r, c]) - lift
                            total += code
                            put_code(packed, t, (part * groups + group) * g + c, j, g, code)
                offsets[t, section, j] = -np.int64(half_norms[section, panel, r]) - lift * total


@inlined
def _set_half_squares(half_squares, place, upper_bound, own_errors, own_kind, other_kind, step):
    most = np.int64(2**16 - 4) if half_squares.itemsize == 2 else np.int64(2**32 - 4)
    panel_rows = half_squares.shape[2]
    panel, r = place // panel_rows, place % panel_rows
    for section in range(3):
        radius = (upper_bound + own_errors[own_kind, section] + own_errors[other_kind, section]) / step
        half_squares[section, panel, r] = half_square(radius, most)


@kernel
def set_half_squares(places, lists, other_kind, first, last):
    """half_squares[section] of the places [first, last) = half the squared radius, in steps and rounded up.

    The radius is how far apart the codes of rows within `upper_bounds` may be.
    other_kind : 1 if the other row may be a rare one
    """
    d = places.rows.shape[1]
    half_squares, upper_bounds, errors, step, apart = (
        places.half_squares,
        lists.upper_bounds,
        places.errors,
        places.step,
        places.apart,
    )
    for place in range(first, last):
        if apart[place] >= 0:
            upper_bound = distance_within(upper_bounds[place], d)
            _set_half_squares(
                half_squares, place, upper_bound, errors, int(place >= places.first_rare), other_kind, step
            )


@kernel
def find_all_used(rows, first, last, used):
    """`find_used` for the places [first, last)."""
    for place in range(first, last):
        find_used(rows, place, used, place)


@inlined
def _search_block(isa, places, lists, first_place, last_place, other_from, other_to, other_kind, scratch, counts):
    """Offer pairs to both rows' lists: places [first_place, last_place) with later ones of [other_from, other_to)."""
    # Plain local names: reading a field of a tuple in a loop counts references, with atomic operations.
    rows, order, apart, packed, panels = places.rows, places.order, places.apart, places.packed, places.panels
    half_norms, offsets, half_squares, errors = places.half_norms, places.offsets, places.half_squares, places.errors
    step, first_rare, squares, used = places.step, places.first_rare, places.squares, places.used
    distances, indices, upper_bounds = lists.distances, lists.indices, lists.upper_bounds
    masks, largest, found, others, measured, sums = scratch
    panel_rows, tile, d = panels.shape[3], packed.shape[2], rows.shape[1]
    passed = compared = 0
    last_tile = (min(last_place, other_to * panel_rows) + tile - 1) // tile
    for t in range(first_place // tile, last_tile):
        found[:] = 0
        # Nothing is measured before all panels are scanned, so these values hold for all panels.
        largest[:] = 0
        for place in range(t * tile, t * tile + tile):
            own = half_squares[0, place // panel_rows, place % panel_rows]
            largest[0] = max(largest[0], own)
            largest[1] = max(largest[1], half_squares[1, place // panel_rows, place % panel_rows] - own)
        for panel in range(max(other_from, t * tile // panel_rows), other_to):
            if scan_pairs(isa, packed, t, panels, half_norms, panel, offsets, half_squares, largest, masks) == 0:
                continue
            for j in range(tile):
                mask = masks[j]
                one = t * tile + j
                if mask == 0 or one < first_place or one >= last_place or apart[one] < 0:
                    continue
                while mask != 0:
                    other = panel * panel_rows + trailing_zeros(mask)
                    mask &= mask - np.uint64(1)
                    passed += 1
                    if other > one and apart[other] >= 0 and apart[other] != apart[one]:
                        others[j, found[j]] = other
                        found[j] += 1
        for j in range(tile):
            count = found[j]
            if count == 0:
                continue
            compared += count
            first = t * tile + j
            distances_through(isa, rows, first, others[j], count, used, squares, sums, measured)
            for i in range(count):
                distance, other = measured[i], np.int64(others[j, i])
                if distance > upper_bounds[first] and distance > upper_bounds[other]:
                    continue
                one = first
                for _ in range(2):
                    if distance <= upper_bounds[one]:
                        worst = offer_pair(distances, indices, one, distance, np.int64(order[other]))
                        if worst < upper_bounds[one]:
                            upper_bounds[one] = worst
                            upper_bound = distance_within(worst, d)
                            kind = int(one >= first_rare)
                            _set_half_squares(half_squares, one, upper_bound, errors, kind, other_kind, step)
                    one, other = other, one
    counts[0] += passed
    counts[1] += compared


@kernel
def search_pairs(isa, places, lists, from_panel, to_panel, other_from, other_to, other_kind, panels_per_block, counts):
    """Offer pairs to both rows' lists: places in panels [from_panel, to_panel), later ones in [other_from, other_to).

    The two ranges are the same, or the second lies behind the first. other_kind : 1 if the second holds rare rows
    counts : int64 (2,): the pairs that passed the scan and the pairs compared are added
    Exact for any order of the places and of the calls. No two calls at the same time may share a place.
    """
    rows, tile = places.panels.shape[3], places.packed.shape[2]
    width = min(panels_per_block, other_to - other_from) * rows
    scratch = (
        np.empty(tile, np.uint64),
        np.empty(2, places.half_squares.dtype),
        np.zeros(tile, np.int64),
        np.empty((tile, width), np.int32),
        np.empty(width, lists.upper_bounds.dtype),
        np.empty(8),
    )
    for block in range(other_from, other_to, panels_per_block):
        end = min(block + panels_per_block, other_to)
        given = from_panel * rows, to_panel * rows, block, end, other_kind
        _search_block(isa, places, lists, *given, scratch, counts)
