"""Sums over a grid of units, smoothed by a neighbourhood that is a product of one of the columns and one of the rows.

A few features of all units go through both steps while they lie in the level-2 cache, in tiles of four target units by
eight features (`weighted_tiles`). The result depends on neither threads nor blocks nor the width of the registers.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import F64, I64, Operands, load, splat, store
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.weighted_tiles import FEATURES, TARGETS, weighted_tile


class Factors(NamedTuple):
    """A neighbourhood h as a sum of some terms, each a factor of the columns times one of the rows.

    On a hexagonal grid the factor of the columns depends on the parities of both rows, so there are as many of them as
    `parities`, 1 or 2. Targets are padded to whole TARGETS, with zeros.

    across : float64 (parities, parities, terms, columns padded, columns), by the parity of the target and of the
    source row
    across_spans : int64 (parities, parities, terms, columns padded / TARGETS, 2), [first, last) of the source columns
    whose factors are not zero for these targets; never empty
    down : float64 (parities, target rows padded, terms·rows), by the parity of the target
    down_spans : int64 (parities, target rows padded / TARGETS, 2), likewise
    """

    across: np.ndarray
    across_spans: np.ndarray
    down: np.ndarray
    down_spans: np.ndarray


@intrinsic
def _load_numbers(typing_context, sums, row, first, line, place, at):
    """line[place, at + v] = sums[row, first + v] as float64 for v < FEATURES.

    sums : int64, at least 0 and below 2^52, or float64.
    """
    index = types.int64
    signature = types.void(sums, index, index, line, index, index)
    whole = sums.dtype == types.int64

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, row, first, _, place, at = arguments
        element = I64 if whole else F64
        source = builder.gep(given.pointer(0, element, row), [first])
        value = load(builder, source, 8, ir.VectorType(element, FEATURES))
        if whole:  # AVX2 converts them one at a time: set below the exponent of 2^52, they become its last bits
            exponent = ir.Constant(value.type, [0x4330000000000000] * FEATURES)
            floats = ir.VectorType(F64, FEATURES)
            value = builder.bitcast(builder.or_(value, exponent), floats)
            value = builder.fsub(value, ir.Constant(floats, [2.0**52] * FEATURES))
        store(builder, value, builder.gep(given.pointer(3, F64, place), [at]), 8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _store_quotients(typing_context, tile, q, divisor, out, row, first):
    """out[row, first + v] = tile[q, v] / divisor for v < FEATURES."""
    index = types.int64
    signature = types.void(tile, index, types.float64, out, index, index)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, q, divisor, _, row, first = arguments
        value = load(builder, given.pointer(0, F64, q), 8, ir.VectorType(F64, FEATURES))
        value = builder.fdiv(value, splat(builder, divisor, FEATURES))
        store(builder, value, builder.gep(given.pointer(3, F64, row), [first]), 8)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def smooth_columns(sums, factors, divisors, first, last, out):
    """out[k, f] = Σ_i h(k, i)·sums[i, f] / divisors[k] for the features f in [first, last) and all units k.

    sums : int64, at least 0 and below 2^52, or float64 (rows·columns, d); factors : Factors, of h
    divisors : float64 (rows·columns,); out : float64 (rows·columns, d)

    All sums are float64, in a fixed order. Cost per feature: parities·terms·rows·columns² + terms·rows²·columns
    multiply-adds where no factor is zero.
    """
    across, across_spans, down, down_spans = factors.across, factors.across_spans, factors.down, factors.down_spans
    parities, _, terms, padded, columns = across.shape
    rows = down.shape[2] // terms
    width = (last - first + FEATURES - 1) // FEATURES * FEATURES
    whole = last - (last - first) % FEATURES
    flat_across = across.reshape(-1, columns)
    flat_down = down.reshape(-1, terms * rows)
    line = np.zeros((columns, width))
    # What lies between the steps: the sources of a target, one after the other. A tile that goes beyond the last column
    # writes to the next parity, which comes after it and is overwritten, or to what lies behind all parities.
    half = np.empty(((parities * columns + TARGETS) * terms * rows, width))
    tile = np.empty((TARGETS, FEATURES))
    for r in range(rows):
        for c in range(columns):
            for f in range(first, whole, FEATURES):
                _load_numbers(sums, r * columns + c, f, line, c, f - first)
            for f in range(whole, last):
                line[c, f - first] = np.float64(sums[r * columns + c, f])
        for parity in range(parities):
            for term in range(terms):
                at = (parity * parities + r % parities) * terms + term
                for block in range(padded // TARGETS):
                    target = (parity * columns + block * TARGETS) * terms * rows + term * rows + r
                    start = across_spans[parity, r % parities, term, block, 0]
                    stop = across_spans[parity, r % parities, term, block, 1]
                    for place in range(0, width, FEATURES):
                        weighted_tile(
                            flat_across, at * padded + block * TARGETS, line, 0, start, stop, place,
                            half, target, terms * rows, place,
                        )  # fmt: skip
    for parity in range(parities):
        for c in range(columns):
            origin = (parity * columns + c) * terms * rows
            for block in range(down.shape[1] // TARGETS):
                row = parity * down.shape[1] + block * TARGETS
                start, stop = down_spans[parity, block, 0], down_spans[parity, block, 1]
                for place in range(0, width, FEATURES):
                    weighted_tile(flat_down, row, half, origin, start, stop, place, tile, 0, 1, 0)
                    begin = first + place
                    used = min(FEATURES, last - begin)
                    for q in range(TARGETS):
                        r = (block * TARGETS + q) * parities + parity
                        if r < rows:
                            k = r * columns + c
                            if used == FEATURES:
                                _store_quotients(tile, q, divisors[k], out, k, begin)
                            else:
                                for f in range(used):
                                    out[k, begin + f] = tile[q, f] / divisors[k]
