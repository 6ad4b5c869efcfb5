"""Blocks of the classical rule on bytes: products and moves of 16-bit integers.

A weight is multiplied as (high·2^bits + low)·quantum, and so is the share of a row that a unit moves by. The weights
themselves stay float64, in panels, [panel][column][unit of the panel], so that what is done to a unit is done to a panel's
units at once. Pairs of columns in which a tile's rows are zero are left out of its products, and pairs of rows that are zero in a tile's columns
out of its moves: half of both on images of digits.
"""

from typing import NamedTuple

import numpy as np

from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.maps.relay import advance, as_counters, wait_for
from somknn_kernels.maps.som_blocks import present_block
from somknn_kernels.maps.som_byte_tiles import add_products, move_pair, split_pair
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.products import dot_tile_of_groups

SECTION = 512  # pairs of columns at most that are summed in 32 bits
MOST_ROWS = 256  # of a block: 256·255·2^15 < 2^31
FULL = 2.0**31 - 2.0**20  # what the largest share is as an integer
_MARGIN = 1.0 - 2.0**-11  # for what rounding adds to the largest weight


@inlined
def _weight_scale(largest_sum, largest_weight):
    """(bits, quantum) of weights up to the largest, so that sums of rows, and of both halves, fit 32 bits.

    largest_sum : of a row's bytes in a section; up to 2^16 the halves have 16 bits, and 2^15 times less where it is so much more.
    """
    limit = min(2**15, 2**31 // max(1, largest_sum))
    bits = 0
    while limit >> bits:
        bits += 1
    return np.int32(bits), largest_weight / ((limit - 1) * 2.0**bits * _MARGIN)


class Packed(NamedTuple):
    """A block of rows in all layouts that it is multiplied from.

    rows : int16 (rows in whole tiles and pairs, columns in whole tiles and sections), zeros beyond the data
    queries : int32 (tiles·sections, width, query tile), pairs of columns, of which counts[tile·sections + section] are left;
    groups : int32 (tiles·sections, width), their places; counts : int64
    columns : int32 (column tiles, pairs of rows, query tile), pairs of rows; row_groups, row_counts : likewise, a count may be 0
    gram : float64 (rows, rows), products of the rows with each other, at least at and above the diagonal
    """

    rows: np.ndarray
    queries: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    columns: np.ndarray
    row_groups: np.ndarray
    row_counts: np.ndarray
    gram: np.ndarray


class Panels(NamedTuple):
    """A codebook in panels, and what its blocks need besides their rows.

    weights : float64 (panels, columns in whole sections, panel rows), zeros beyond the data; largest : float64, which none is beyond
    halves, factors : float64 (panels·panel rows,), dots, pulls, shares : float64 (rows in pairs, panels·panel rows): see `present_block`
    scales : float64 (2, 3), of the two blocks in work: bits, quantum and blur
    panel : int32 (sections, width, panel rows), scratch to pack rows
    """

    weights: np.ndarray
    largest: float
    halves: np.ndarray
    factors: np.ndarray
    dots: np.ndarray
    pulls: np.ndarray
    shares: np.ndarray
    scales: np.ndarray
    panel: np.ndarray


@inlined
def _pack_sections(isa, pairs, n, packed):
    """The rows in tiles, without the pairs of columns that are zero in all of a tile's rows."""
    queries, groups, counts = packed.queries, packed.groups, packed.counts
    width, tile = queries.shape[1], tile_rows(isa)
    sections = pairs.shape[1] // width
    for t in range((n + tile - 1) // tile):
        for section in range(sections):
            place = t * sections + section
            left = 0
            for g in range(width):  # without a branch, which could not be foreseen: what is not needed is written over
                used = np.int32(0)
                for j in range(tile):
                    pair = pairs[t * tile + j, section * width + g]
                    used |= pair
                    queries[place, left, j] = pair
                groups[place, left] = g
                left += int(used != 0)
            counts[place] = max(left, 1)


@inlined
def _pack_columns(isa, n, packed):
    """The columns in tiles, without the pairs of rows that are zero in all of a tile's columns."""
    rows, columns, groups, counts = packed.rows, packed.columns, packed.row_groups, packed.row_counts
    n_tiles, tile = columns.shape[0], tile_rows(isa)
    line = np.empty(n_tiles * tile, np.int32)
    counts[:] = 0
    for g in range((n + 1) // 2):
        for c in range(line.shape[0]):
            line[c] = np.int32(rows[2 * g, c]) | (np.int32(rows[2 * g + 1, c]) << np.int32(16))
        for t in range(n_tiles):
            left = counts[t]
            used = np.int32(0)
            for j in range(tile):
                used |= line[t * tile + j]
                columns[t, left, j] = line[t * tile + j]
            groups[t, left] = g
            counts[t] += int(used != 0)


@inlined
def _multiply_themselves(isa, pairs, n, panel, packed):
    queries, gram = packed.queries, packed.gram
    _, width, tile = queries.shape
    sections, _, length = panel.shape
    queries_16, panel_16 = queries.view(np.int16), panel.view(np.int16)
    out = np.empty((tile, length), np.int32)
    for start in range(0, n, length):
        used = min(length, n - start)
        for section in range(sections):
            for g in range(width):
                for r in range(used):
                    panel[section, g, r] = pairs[start + r, section * width + g]
        for t in range((start + used + tile - 1) // tile):
            for section in range(sections):
                place = t * sections + section
                dot_tile_of_groups(isa, queries_16, place, packed.groups, packed.counts, panel_16, section, out)
                for j in range(min(tile, n - t * tile)):
                    if section == 0:
                        for r in range(used):
                            gram[t * tile + j, start + r] = np.float64(out[j, r])
                    else:
                        for r in range(used):
                            gram[t * tile + j, start + r] += np.float64(out[j, r])


@inlined
def _pack_block(isa, X, first, stop, panel, packed):
    """Fill `packed` with the rows [first, stop) of X : uint8 (n, d); returns the largest sum of a row's bytes in one section, and in all.

    panel : int32 (sections, width, panel rows), scratch. Cost: B²·d / 2 multiply-adds of 16 bits, exact.
    """
    n, d = stop - first, X.shape[1]
    rows = packed.rows
    sections, width, _ = panel.shape
    section_sum = np.int64(0)
    row_sum = np.int64(0)
    for i in range(rows.shape[0]):
        rows[i, :] = 0
        whole = np.int64(0)
        for start in range(0, d if i < n else 0, 2 * width):
            total = np.int64(0)
            for c in range(start, min(d, start + 2 * width)):
                rows[i, c] = X[first + i, c]
                total += np.int64(X[first + i, c])
            section_sum = max(section_sum, total)
            whole += total
        row_sum = max(row_sum, whole)
    pairs = rows.view(np.int32)[:, : sections * width]
    _pack_sections(isa, pairs, n, packed)
    _pack_columns(isa, n, packed)
    _multiply_themselves(isa, pairs, n, panel, packed)
    return section_sum, row_sum


@inlined
def _move(isa, p, W, halves, factors, high_shares, low_shares, unit, moving, n_pairs, inverse, bits, codes, more):
    """Move the units of panel p and write the 16-bit halves of their weights."""
    columns, groups, counts = moving.columns, moving.row_groups, moving.row_counts
    n_tiles, _, tile = columns.shape
    n_columns, length = W.shape[1:]
    flat = W.reshape(W.shape[0] * n_columns, length)
    columns_16, high_16, low_16 = columns.view(np.int16), high_shares.view(np.int16), low_shares.view(np.int16)
    high, low = np.empty((tile, length), np.int32), np.empty((tile, length), np.int32)
    squares = np.zeros((1, length))
    for t in range(n_tiles):
        if n_pairs > 0 and counts[t] > 0:
            dot_tile_of_groups(isa, columns_16, t, groups, counts, high_16, 0, high)
            dot_tile_of_groups(isa, columns_16, t, groups, counts, low_16, 0, low)
        else:
            high[:] = 0
            low[:] = 0
        for j in range(0, min(tile, n_columns - t * tile), 2):
            c = t * tile + j
            move_pair(
                isa,
                flat,
                p * n_columns + c,
                factors,
                p * length,
                high,
                low,
                j,
                unit,
                inverse,
                bits,
                squares,
                codes,
                more,
                c // 2,
            )
    for u in range(length):
        halves[p * length + u] = 0.5 * squares[0, u]


@inlined
def _move_and_multiply(isa, first, stop, panels, largest, moving, n_moving, scale, following, n):
    """Move the units of the panels [first, stop) by a block of rows, and multiply the next block with them.

    Weights become factors·w + Σ_s shares[s]·(row s), each share to 2^-32 of `largest`, which none is above; halves, half their squared norms.
    moving, following : Packed, of n_moving and n rows, where 0 moves nothing; dots of `following` become products with the moved weights as multiples
    of the quantum in scales[scale], so each is within half of that times the sum of the row's bytes.
    Cost per unit and row: 2·d multiply-adds of 16 bits for the move and as many for the product.
    """
    W, shares, dots = panels.weights, panels.shares, panels.dots
    bits, quantum = np.int32(panels.scales[scale, 0]), panels.scales[scale, 1]
    length = W.shape[2]
    n_pairs = (n_moving + 1) // 2
    queries, groups, counts = following.queries, following.groups, following.counts
    _, width, tile = queries.shape
    sections = W.shape[1] // (2 * width)
    high_shares, low_shares = np.empty((1, n_pairs, length), np.int32), np.empty((1, n_pairs, length), np.int32)
    codes, more = np.empty((sections, width, length), np.int32), np.empty((sections, width, length), np.int32)
    flat_codes, flat_more = codes.reshape(sections * width, length), more.reshape(sections * width, length)
    codes_16, more_16 = codes.view(np.int16), more.view(np.int16)
    queries_16 = queries.view(np.int16)
    high, low = np.empty((tile, length), np.int32), np.empty((tile, length), np.int32)
    unit = largest / FULL
    inverse_unit = 1.0 / unit if largest > 0.0 else 0.0
    high_quantum = quantum * 2.0**bits
    if n_moving == 0:
        panels.factors[first * length : stop * length] = 1.0
    for p in range(first, stop):
        for g in range(n_pairs):
            split_pair(isa, shares, 2 * g, p * length, inverse_unit, high_shares[0], low_shares[0], g)
        _move(
            isa,
            p,
            W,
            panels.halves,
            panels.factors,
            high_shares,
            low_shares,
            unit,
            moving,
            n_pairs,
            1.0 / quantum,
            bits,
            flat_codes,
            flat_more,
        )
        for section in range(sections):
            for t in range((n + tile - 1) // tile):
                place = t * sections + section
                dot_tile_of_groups(isa, queries_16, place, groups, counts, codes_16, section, high)
                dot_tile_of_groups(isa, queries_16, place, groups, counts, more_16, section, low)
                for j in range(min(tile, n - t * tile)):
                    add_products(isa, high, low, j, quantum, high_quantum, dots, t * tile + j, p * length, section > 0)


def first_counters(blocks: int, parts: int, ready: bool) -> np.ndarray:
    """Counters for a `train_bytes` of so many blocks; `ready` if the call before has packed the first and multiplied it."""
    numbers = np.zeros(2 * blocks + 3, np.int64)
    if ready:
        numbers[[0, 2]] = 2 * parts, parts  # tasks taken, and done of the second phase
    return as_counters(numbers)


@kernel
def train_bytes(
    isa, X, edges, before, panels, K, slots, tables, which, hexagonal, columns, rates, counters, parts, units, distances
):
    """Present blocks of bytes to a codebook, by all threads that call this with the same arguments; see `relay`.

    One thread trains with a block while another packs the next; then all move panels by the one and multiply the other with them.

    X : uint8 (n, d), rows in their order; edges : int64, where blocks begin, of MOST_ROWS at most, and n. There are as many as `which` has tables, and
    perhaps one more, which is only made ready for the next call. before : int64, blocks of earlier calls, for which slot comes next.
    panels : Panels, in and out; K : units. slots : two Packed, scratch. tables : float64 (tables, …), and which : int64 (blocks,), the one for
    each block; hexagonal, columns, rates (n,), units (n, 2), distances (n,) : as in `present_block`. Rates and tables lie in [0, 1].
    counters : 2·blocks + 3, as `first_counters` makes them; parts : int64, of a phase, at least 2. The result depends on neither parts nor threads.
    """
    blocks = which.shape[0]
    n_panels = panels.weights.shape[0]
    while True:
        task = advance(counters, 0)
        phase, part = task // parts, task % parts
        if phase > 2 * blocks + 1:
            return
        if phase > 0:
            wait_for(counters, phase, parts)
        now = phase // 2 - 1  # the block that has its products, and trains or moves
        first, stop = (edges[now], edges[now + 1]) if now >= 0 else (edges[0], edges[0])
        following = edges[now + 2] - stop if now + 2 < edges.shape[0] else 0
        slot, other = (before + now) % 2, (before + now + 1) % 2
        if phase % 2 == 0:
            if part == 0 and now >= 0:
                present_block(
                    slots[slot].rows, panels.weights, K, panels.dots, slots[slot].gram, panels.halves, panels.scales[slot, 2],
                    tables[which[now]], hexagonal, columns, rates[first:stop], panels.pulls, panels.shares, panels.factors,
                    units[first:stop], distances[first:stop],
                )  # fmt: skip
                panels.shares[stop - first :] = 0.0
            if part == 1 and following > 0:
                section_sum, row_sum = _pack_block(isa, X, stop, stop + following, panels.panel, slots[other])
                bits, quantum = _weight_scale(section_sum, panels.largest)
                panels.scales[other, 0] = bits
                panels.scales[other, 1] = quantum
                panels.scales[other, 2] = 0.5 * quantum * row_sum
        else:
            largest = 0.0
            for t in range(first, stop):
                largest = max(largest, rates[t])
            _move_and_multiply(
                isa, part * n_panels // parts, (part + 1) * n_panels // parts, panels, largest, slots[slot], stop - first,
                other, slots[other], following,
            )  # fmt: skip
        advance(counters, phase + 1)
