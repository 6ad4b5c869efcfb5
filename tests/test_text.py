"""Lines of numbers: pyarrow and NumPy give the same arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from somknn.datasets import text

NUMBERS = st.one_of(
    st.integers(0, 255).map(str),
    st.integers(-(10**20), 10**20).map(lambda number: str(int(float(number)))),  # those that float64 holds
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["007", "+5", "-0", " 7 ", "1e3", ".5", "5.", "1.0"]),
)
ANYTHING = st.one_of(
    NUMBERS,
    st.sampled_from(["", "nan", "inf", "0x1A", "1_000", '"3"', "1 2", "1e999", "-", "5;", "\t4", "٣"]),
    st.text(),
)


def by_both(lines, width):
    found = []
    for least in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "_WORTH_PYARROW", least)
            found.append(text.parse_rows(lines, width))
    return found


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_numbers_are_pythons(cells):
    expected = np.array([[float(cell) for cell in row] for row in cells])
    for values in by_both([",".join(row) for row in cells], 3):
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == text.compact(expected).dtype


@given(st.lists(st.lists(ANYTHING, min_size=1, max_size=3), min_size=1, max_size=4))
def test_both_ways_agree_on_everything(cells):
    lines = [line for line in (",".join(row).replace("\n", "").replace("\r", "") for row in cells) if line.strip()]
    if lines:
        fast, slow = by_both(lines, 2)
        assert (fast is None) == (slow is None)
        if fast is not None:
            np.testing.assert_array_equal(fast, slow)
            assert fast.dtype == slow.dtype


def test_pyarrow_reads_what_it_is_meant_for():
    """Otherwise the two tests above would compare NumPy with itself."""
    assert text._parse_with_pyarrow(b"1,255\n0,7", 2).dtype == np.uint8
    np.testing.assert_array_equal(text._parse_with_pyarrow(b"1,256\n0,7.5", 2), [[1, 256], [0, 7.5]])
    for bad in ("0x1A,2", "1,", "1", "1,2,3", '"1",2', "nan,1"):
        assert text._parse_with_pyarrow(f"1,2\n{bad}".encode(), 2) is None
