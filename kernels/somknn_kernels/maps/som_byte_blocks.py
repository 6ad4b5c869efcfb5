"""Blocks of the classical rule on bytes: products and moves of 16-bit integers.

A weight is multiplied as (high·2^bits + low)·quantum, and so is the share of a row that a unit moves by. The weights
themselves stay float64, in panels, [panel][column][unit of the panel], so that what is done to a unit is done to all
units of a panel at once. Pairs of columns in which all rows of a tile are zero are left out of its products. Pairs of
rows that are zero in all columns of a tile are left out of its moves. On images of digits, that is half of both.
"""

from typing import NamedTuple

import numpy as np

from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.maps.relay import advance, as_counters, wait_for
from somknn_kernels.maps.som_blocks import Block, Codebook, Moves, Neighborhood, present_block
from somknn_kernels.maps.som_byte_tiles import add_products, move_pair, split_pair
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.products import dot_tile_of_groups

SECTION = 512  # pairs of columns at most that are summed in 32 bits
MOST_ROWS = 256  # of a block: 256·255·2^15 < 2^31
FULL = 2.0**31 - 2.0**20  # what the largest share is as an integer
_MARGIN = 1.0 - 2.0**-11  # for what rounding adds to the largest weight


@inlined
def _weight_scale(largest_sum, largest_weight):
    """(bits, quantum) of weights up to `largest_weight`, so that sums over a row, of either half, fit 32 bits.

    largest_sum : int64, of a row's bytes in a section. Up to 2^16 the halves have 16 bits each; where it is larger,
    they have as many fewer.
    """
    limit = min(2**15, 2**31 // max(1, largest_sum))
    bits = 0
    while limit >> bits:
        bits += 1
    return np.int32(bits), largest_weight / ((limit - 1) * 2.0**bits * _MARGIN)


class Packed(NamedTuple):
    """A block of rows in all layouts that it is multiplied from.

    rows : int16 (rows in whole tiles and pairs, columns in whole tiles and sections), zeros beyond the data
    queries : int32 (tiles·sections, width, query tile), pairs of columns, of which those are left that are in use
    groups : int32 (tiles·sections, width), their places; counts : int64 (tiles·sections,), their number, at least 1
    columns : int32 (column tiles, pairs of rows, query tile), pairs of rows, of which those are left that are in use
    row_groups : int32 (column tiles, pairs of rows), row_counts : int64 (column tiles,), likewise; a count may be 0
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

    weights : float64 (panels, columns in whole sections, panel rows), zeros beyond the data
    n_units : int64; largest : float64, no weight is beyond this
    halves, factors : float64 (padded,), dots, pulls, shares : float64 (rows in pairs, padded), where padded is
    panels·panel rows: see `Codebook`, `Block` and `Moves` in `som_blocks`
    scales : float64 (2, 3), of the two blocks in work: bits, quantum and blur
    panel : int32 (sections, width, panel rows), scratch to pack rows
    """

    weights: np.ndarray
    n_units: int
    largest: float
    halves: np.ndarray
    factors: np.ndarray
    dots: np.ndarray
    pulls: np.ndarray
    shares: np.ndarray
    scales: np.ndarray
    panel: np.ndarray


class Neighborhoods(NamedTuple):
    """The neighbourhood of each block: `Neighborhood` of `som_blocks` with several tables.

    tables : float64 (tables, 2R - 1, 3, 2C - 1), from 0 to 1; which : int64 (blocks,), the table of each block
    hexagonal : bool; columns : int64, C
    """

    tables: np.ndarray
    which: np.ndarray
    hexagonal: bool
    columns: int


class Schedule(NamedTuple):
    """The blocks of a call of `train_bytes`, and what its threads share them out by.

    edges : int64 (blocks + 1,) or one more, where blocks begin, of MOST_ROWS at most, and the number of rows. With one
    more, the last block is only made ready for the next call
    before : int64, blocks of earlier calls, which says whose slot comes next
    counters : as `first_counters` makes them; parts : int64, into which each phase is cut, at least 2
    """

    edges: np.ndarray
    before: int
    counters: np.ndarray
    parts: int


class Halves(NamedTuple):
    """Numbers of a panel's units as (high·2^bits + low)·unit. Pairs of neighbouring 16-bit integers share an int32.

    high, low : int32 (groups, panel rows); bits : int32, of the low halves; unit : float64
    """

    high: np.ndarray
    low: np.ndarray
    bits: np.int32
    unit: float


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
    """packed.gram = products of the n rows with each other, exact; `panel` as in `_pack_block`."""
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
    """Fill `packed` with the rows [first, stop) of X : uint8 (n, d).

    Returns the largest sum of a row's bytes in one section, and in all. panel : int32 (sections, width, panel rows),
    scratch. Cost for B rows: B²·d / 2 multiply-adds of 16 bits, exact.
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
def _move(isa, p, panels, shares, moving, codes):
    """Move the units of panel p by the rows of `moving`, and write the 16-bit halves of their weights to `codes`.

    shares : Halves, whose groups are pairs of rows, of 16 bits each; none of them moves nothing
    codes : Halves, whose groups are pairs of columns
    """
    W, halves, factors = panels.weights, panels.halves, panels.factors
    columns, groups, counts = moving.columns, moving.row_groups, moving.row_counts
    unit, inverse, bits = shares.unit, 1.0 / codes.unit, codes.bits
    code_high, code_low = codes.high, codes.low
    n_pairs, length = shares.high.shape
    n_tiles, _, tile = columns.shape
    n_columns = W.shape[1]
    flat = W.reshape(W.shape[0] * n_columns, length)
    columns_16 = columns.view(np.int16)
    high_16 = shares.high.view(np.int16).reshape(1, n_pairs, 2 * length)
    low_16 = shares.low.view(np.int16).reshape(1, n_pairs, 2 * length)
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
                isa, flat, p * n_columns + c, factors, p * length, high, low, j, unit, inverse, bits, squares,
                code_high, code_low, c // 2,
            )  # fmt: skip
    for u in range(length):
        halves[p * length + u] = 0.5 * squares[0, u]


@inlined
def _move_and_multiply(isa, first, stop, panels, rates, moving, scale, following, n):
    """Move the units of the panels [first, stop) by a block of rows, and multiply the next block with them.

    Weights become factors·w + Σ_s shares[s]·(row s), each share to 2^-32 of the largest rate; halves, half their
    squared norms.
    moving : Packed, of as many rows as rates : float64 has; no rate moves nothing
    following : Packed, of n rows, at least 0. Its products with the moved weights go to `panels.dots`, as multiples of
    the quantum in scales[scale]. So each is within half a quantum times the sum of the row's bytes.

    Cost per unit and row: 2·d multiply-adds of 16 bits for the move and as many for the product.
    """
    W, shares, dots = panels.weights, panels.shares, panels.dots
    bits, quantum = np.int32(panels.scales[scale, 0]), panels.scales[scale, 1]
    length = W.shape[2]
    n_pairs = (rates.shape[0] + 1) // 2
    queries, groups, counts = following.queries, following.groups, following.counts
    _, width, tile = queries.shape
    sections = W.shape[1] // (2 * width)
    high_shares, low_shares = np.empty((n_pairs, length), np.int32), np.empty((n_pairs, length), np.int32)
    codes, more = np.empty((sections, width, length), np.int32), np.empty((sections, width, length), np.int32)
    codes_16, more_16 = codes.view(np.int16), more.view(np.int16)
    queries_16 = queries.view(np.int16)
    high, low = np.empty((tile, length), np.int32), np.empty((tile, length), np.int32)
    largest = 0.0
    for t in range(rates.shape[0]):
        largest = max(largest, rates[t])
    unit = largest / FULL
    inverse_unit = 1.0 / unit if largest > 0.0 else 0.0
    high_quantum = quantum * 2.0**bits
    share_halves = Halves(high_shares, low_shares, np.int32(16), unit)
    flat_codes, flat_more = codes.reshape(sections * width, length), more.reshape(sections * width, length)
    code_halves = Halves(flat_codes, flat_more, bits, quantum)
    if n_pairs == 0:
        panels.factors[first * length : stop * length] = 1.0
    for p in range(first, stop):
        for g in range(n_pairs):
            split_pair(isa, shares, 2 * g, p * length, inverse_unit, high_shares, low_shares, g)
        _move(isa, p, panels, share_halves, moving, code_halves)
        for section in range(sections):
            for t in range((n + tile - 1) // tile):
                place = t * sections + section
                dot_tile_of_groups(isa, queries_16, place, groups, counts, codes_16, section, high)
                dot_tile_of_groups(isa, queries_16, place, groups, counts, more_16, section, low)
                for j in range(min(tile, n - t * tile)):
                    add_products(isa, high, low, j, quantum, high_quantum, dots, t * tile + j, p * length, section > 0)


def first_counters(blocks: int, parts: int, ready: bool) -> np.ndarray:
    """Counters, int64, for a `train_bytes` of so many blocks.

    ready : whether the call before has packed the first block and multiplied it.
    """
    numbers = np.zeros(2 * blocks + 3, np.int64)
    if ready:
        numbers[[0, 2]] = 2 * parts, parts  # tasks taken, and done of the second phase
    return as_counters(numbers)


@kernel
def train_bytes(isa, X, schedule, panels, slots, neighborhoods, rates, units, distances):
    """Present blocks of bytes to a codebook, by all threads that call this with the same arguments; see `relay`.

    One thread trains with a block while another packs the next. Then all move panels by the one and multiply the other
    with them.

    X : uint8 (n, d), rows in their order; schedule : Schedule; panels : Panels, changed
    slots : two of Packed, kept between the calls; neighborhoods : Neighborhoods
    rates : float64 (p,), from 0 to 1; units : int64 (p, 2), distances : float64 (p,), filled: see `present_block`. p
    is n without the rows of a block that is only made ready

    The result depends on neither parts nor threads. Cost: that of `present_block`, `_pack_block` and
    `_move_and_multiply`.
    """
    edges, before, counters, parts = schedule.edges, schedule.before, schedule.counters, schedule.parts
    tables, which = neighborhoods.tables, neighborhoods.which
    blocks = which.shape[0]
    n_panels = panels.weights.shape[0]
    codebook = Codebook(panels.weights, panels.n_units, panels.halves)
    moves = Moves(panels.pulls, panels.shares, panels.factors)
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
                block = Block(slots[slot].rows, panels.dots, slots[slot].gram, panels.scales[slot, 2])
                neighborhood = Neighborhood(tables[which[now]], neighborhoods.hexagonal, neighborhoods.columns, np.inf)
                out = units[first:stop], distances[first:stop]
                present_block(block, codebook, neighborhood, rates[first:stop], moves, *out)
                panels.shares[stop - first :] = 0.0
            if part == 1 and following > 0:
                section_sum, row_sum = _pack_block(isa, X, stop, stop + following, panels.panel, slots[other])
                bits, quantum = _weight_scale(section_sum, panels.largest)
                panels.scales[other, 0] = bits
                panels.scales[other, 1] = quantum
                panels.scales[other, 2] = 0.5 * quantum * row_sum
        else:
            panels_from, panels_to = part * n_panels // parts, (part + 1) * n_panels // parts
            _move_and_multiply(
                isa, panels_from, panels_to, panels, rates[first:stop], slots[slot], other, slots[other], following
            )
        advance(counters, phase + 1)
