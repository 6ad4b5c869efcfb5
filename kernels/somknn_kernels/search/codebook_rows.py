"""The rows of a chunk of a codebook's search: scratch for them, and the rows as integers and codes."""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.codebook_codes import load_row, norm_beyond, round_codes, row_factor
from somknn_kernels.policy import inlined
from somknn_kernels.tiles.row_products import AXES, project_tile, project_used


class Room(NamedTuple):
    """Scratch for the rows of a chunk: some tiles that go through the stages together.

    whole : int16 (rows, d in whole pieces), the rows as integers; codes : int16 (tiles, pairs, tile, 2), their codes
    factors : float64 (rows,), what turns products into scores: step / factor of the row
    values : int32 (rows, panels·panel rows), sums of stage 1
    largest, next_largest : int32 (tile, panel rows), the two largest sums of each lane
    guesses : int64 (rows, 2), units that are measured first; guess_scores : float64 (rows, 2)
    thresholds : int32 (rows,), the least sum of a unit that is of use
    bits : uint64 (rows, words), units that stage 1 leaves
    alive, sums : int32 (rows, panels·panel rows), units that stage 2 leaves, and their sums; found : int64 (rows,), how
    many
    """

    whole: Any
    codes: Any
    factors: Any
    values: Any
    largest: Any
    next_largest: Any
    guesses: Any
    guess_scores: Any
    thresholds: Any
    bits: Any
    alive: Any
    sums: Any
    found: Any


class OwnAxes(NamedTuple):
    """Axes of the codebook's own, and room for the products of rows with them.

    axes : int16, as `Units.own`; shifts : float64, of the axes, in steps of the codes
    unit : step of the codes; inverse : the value of one unit of the integer axes
    deviation, loss : as in `Units` and `Short`; products : int32 (panels, tile, AXES); line : int32 (AXES,)
    """

    axes: Any
    shifts: Any
    unit: Any
    inverse: Any
    deviation: Any
    loss: Any
    products: Any
    line: Any


@inlined
def _aligned_rows(n, columns):
    """Zeros, int16 (n, columns), beginning with a cache line."""
    room = np.zeros(n * columns + 32, np.int16)
    first = -(room.ctypes.data // 2) % 32
    return room[first : first + n * columns].reshape(n, columns)


@inlined
def make_room(chunk, tile, width, n_pairs, n_units, panel):
    """width : columns of the rows as integers; n_pairs : pairs of columns of their codes; n_units : in whole panels."""
    return Room(
        _aligned_rows(chunk, width),
        np.zeros((chunk // tile, n_pairs, tile, 2), np.int16),
        np.empty(chunk),
        np.empty((chunk, n_units), np.int32),
        np.empty((tile, panel), np.int32),
        np.empty((tile, panel), np.int32),
        np.empty((chunk, 2), np.int64),
        np.empty((chunk, 2)),
        np.empty(chunk, np.int32),
        np.empty((chunk, (n_units + 63) // 64), np.uint64),
        np.zeros((chunk, n_units), np.int32),
        np.empty((chunk, n_units), np.int32),
        np.zeros(chunk, np.int64),
    )


@inlined
def _own_codes(isa, own, room, short, start, t, count):
    """The codes of the rows of tile t on the codebook's own axes; the last column is the rest.

    One call does a whole tile: each call counts references to its arrays, with atomic instructions, which takes as
    long as the codes of a row.
    """
    axes, products, shifts, line, loss = own.axes, own.products, own.shifts, own.line, own.loss
    unit, inverse, deviation = own.unit, own.inverse, own.deviation
    whole, tile_codes, factors, norms, used = room.whole, room.codes, room.factors, short.norms, short.used
    n_panels, tile = axes.shape[0], tile_codes.shape[2]
    from_row = t * tile
    # At most two panels, written out: an index that is not constant would make a slice.
    flat, last = products.reshape(-1, AXES), products[n_panels - 1]
    if used.shape[0] > 0:
        project_used(isa, whole, from_row, axes, 0, products[0], used, (start + from_row) // tile)
        if n_panels > 1:
            project_used(isa, whole, from_row, axes, 1, last, used, (start + from_row) // tile)
    else:
        project_tile(isa, whole, from_row, axes, 0, products[0])
        if n_panels > 1:
            project_tile(isa, whole, from_row, axes, 1, last)
    for j in range(count):
        factor = factors[from_row + j]
        factor = inverse / (factor * unit) if factor > 0.0 else 0.0
        inside = 0.0
        for p in range(n_panels):
            inside += round_codes(flat, p * tile + j, factor, shifts, p * AXES, line)
            for a in range(AXES):
                column = p * AXES + a
                tile_codes[t, column // 2, j, column % 2] = np.int16(line[a])
        norm = norms[start + from_row + j]
        beyond = norm_beyond(norm * norm, inside * unit * unit, loss, deviation, unit)
        tile_codes[t, n_panels * AXES // 2 - 1, j, 1] = beyond


@inlined
def encode_chunk(isa, X, short, own, room, start, rows):
    """The rows [start, start + rows) as integers, and their codes."""
    whole, factors, tile_codes = room.whole, room.factors, room.codes
    norms, centre, scale, rare = short.norms, short.centre, short.scale, short.rare
    pairs, tile_pairs = short.codes.view(np.int32), tile_codes.view(np.int32)
    integers = X.itemsize == 1
    n_pairs, tile = tile_codes.shape[1], tile_codes.shape[2]
    for j in range(rows):
        norm = norms[start + j]
        factors[j] = row_factor(integers, norm) if norm <= rare else 0.0
        load_row(X, start + j, centre, factors[j] * scale, whole, j)
    for t in range(-(-rows // tile)):
        count = min(tile, rows - t * tile)
        if own.axes.shape[0] > 0:
            _own_codes(isa, own, room, short, start, t, count)
        else:
            for j in range(count):
                for g in range(n_pairs):
                    tile_pairs[t, g, j, 0] = pairs[start + t * tile + j, g]
