"""Text of pixels: the rows of the reference, and no other text is taken for such rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import text_of_bytes as reference
from somknn_kernels.files import text_of_bytes


def check(text, n_rows, width):
    out = np.full((n_rows, width), 99, np.uint8)
    done = text_of_bytes.rows_of_bytes(np.frombuffer(text.encode(), np.uint8), out)
    expected = reference.rows_of_bytes(text, n_rows, width)
    assert done == (expected is not None)
    if done:
        np.testing.assert_array_equal(out, expected)
    return done


ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 255), min_size=width, max_size=width), min_size=1, max_size=6)
)


@given(ROWS, st.sampled_from(["{}", "{:02}", "{:03}"]))
def test_rows_of_bytes(rows, form):
    text = "\n".join(",".join(form.format(value) for value in row) for row in rows)
    assert check(text, len(rows), len(rows[0]))


@given(ROWS, st.data())
def test_other_texts(rows, data):
    """One character more, less or other."""
    text = "\n".join(",".join(map(str, row)) for row in rows)
    at = data.draw(st.integers(0, len(text)))
    put = data.draw(st.sampled_from(["", "0", "9", ",", "\n", "-", " ", ".", "/", ":", "\r", "\0", "ÿ", '"']))
    check(text[:at] + put + text[at + data.draw(st.integers(0, 1)) :], len(rows), len(rows[0]))


@given(st.text(st.sampled_from("0159,\n"), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_any_text(text, n_rows, width):
    check(text, n_rows, width)


@pytest.mark.parametrize("text", ["", "256", "0001", "1,", ",1", "1\n", "1,2", "1\n2", "-1", "1 "])
def test_what_is_no_byte(text):
    assert not check(text, 1, 1)
