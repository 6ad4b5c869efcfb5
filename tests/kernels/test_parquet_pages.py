"""Runs of Parquet pages: the levels and entries of the reference, and nothing is read outside of damaged ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import parquet_pages as reference
from somknn_kernels.files import parquet_pages


def varint(number):
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def run_of(value, count, bit_width):
    return varint(count << 1) + value.to_bytes((bit_width + 7) // 8, "little")


def packed(values, bit_width):
    groups = -(-len(values) // 8)
    bits = sum(value << (i * bit_width) for i, value in enumerate(values))
    return varint(groups << 1 | 1) + bits.to_bytes(groups * bit_width, "little")


@st.composite
def runs(draw, bit_width, values):
    """Runs that hold some of these values, and the values; groups of 8 but for the last run."""
    data, found = b"", []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            value, count = draw(values), draw(st.integers(1, 70))
            data, found = data + run_of(value, count, bit_width), found + [value] * count
        else:
            some = draw(st.lists(values, min_size=8, max_size=8)) * draw(st.integers(1, 3))
            data, found = data + packed(some, bit_width), found + some
    return data, found


def look_up(data, bit_width, entries, n_values):
    """The kernel's answer: a list or None."""
    table = np.concatenate([np.array(entries, np.uint8), np.zeros(256, np.uint8)])
    out = np.full(n_values, 99, np.uint8)
    data = np.frombuffer(data, np.uint8)
    return out.tolist() if parquet_pages.look_up(data, bit_width, table, len(entries), out) else None


@pytest.mark.parametrize("bit_width", [0, 1, 2, 3, 5, 8, 9, 13, 17, 32])
@given(st.data())
def test_look_up(bit_width, data):
    n_entries = min(1 << bit_width, 300)
    entries = [(7 * i + 3) % 256 for i in range(n_entries)]
    raw, numbers = data.draw(runs(bit_width, st.integers(0, n_entries - 1)))
    n_values = data.draw(st.integers(1, len(numbers)))
    expected = [entries[number] for number in numbers[:n_values]]
    assert reference.look_up(raw, bit_width, entries, n_values) == expected
    assert look_up(raw, bit_width, entries, n_values) == expected
    assert look_up(raw, bit_width, entries, len(numbers) + 1) is None
    fewer = entries[: max(numbers[:n_values])]
    assert look_up(raw, bit_width, fewer, n_values) is None


@pytest.mark.parametrize("bit_width", [0, 1, 3, 8, 11, 32])
@given(st.binary(max_size=40), st.integers(1, 90), st.integers(1, 300))
def test_any_bytes(bit_width, raw, n_values, n_entries):
    """Damage, and runs longer than the data or the values."""
    entries = [i % 256 for i in range(n_entries)]
    assert look_up(raw, bit_width, entries, n_values) == reference.look_up(raw, bit_width, entries, n_values)
    if bit_width in (1, 3, 8):
        for level, width, first in ((1, 0, 0), (1, 4, 0), (0, 0, 0), (1, 1, 0), (1, 7, 5)):
            given_levels = raw, bit_width, n_values, level, width, first
            found = parquet_pages.are_regular_levels(np.frombuffer(raw, np.uint8), *given_levels[1:])
            assert found == reference.are_regular_levels(*given_levels)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 200), st.data())
def test_regular_levels(width, first, n_values, data):
    """Levels of lists of one length in any mixture of runs; one other level makes them irregular."""
    levels = [int((first + i) % width != 0) for i in range(n_values)]
    raw, at = b"", 0
    while at < n_values:
        same = next((i for i in range(at, n_values) if levels[i] != levels[at]), n_values) - at
        if same == n_values - at or (same >= 1 and data.draw(st.booleans())):
            count = data.draw(st.integers(1, same))
            raw, at = raw + run_of(levels[at], count, 1), at + count
        else:
            raw, at = raw + packed((levels[at : at + 8] + [0] * 8)[:8], 1), at + 8
    array = np.frombuffer(raw, np.uint8)
    assert parquet_pages.are_regular_levels(array, 1, n_values, 1, width, first)
    assert parquet_pages.are_regular_levels(array, 1, n_values, 1, width, first + width)
    if width > 1 and n_values > width:
        assert not parquet_pages.are_regular_levels(array, 1, n_values, 1, width, first + 1)
        assert not parquet_pages.are_regular_levels(array, 1, n_values, 1, width + 1, first)


def test_definition_levels():
    whole = np.frombuffer(run_of(3, 1000, 2) + packed([3] * 8, 2), np.uint8)
    assert parquet_pages.are_regular_levels(whole, 2, 1008, 3, 0, 0)
    for hole in (run_of(2, 1, 2), packed([3, 3, 0, 3, 3, 3, 3, 3], 2)):
        data = np.frombuffer(run_of(3, 1000, 2) + hole, np.uint8)
        assert parquet_pages.are_regular_levels(data, 2, 1000, 3, 0, 0)
        assert not parquet_pages.are_regular_levels(data, 2, 1008, 3, 0, 0)
