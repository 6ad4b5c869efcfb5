"""Rows of pixels from the text of a CSV file, one character after the other.

A general parser looks for quotes, signs, points and exponents in every cell, and writes column after column, which a
row-major array of 784 columns scatters over the memory: pyarrow takes 23 µs for such a row. Here the only cells are one
to three digits. Whatever else stands in the text ends the work, and a general parser takes the lines.
"""

from somknn_kernels.policy import kernel

_ZERO, _NINE, _COMMA, _NEWLINE = 48, 57, 44, 10
_MOST_DIGITS, _MOST = 3, 255


@kernel
def rows_of_bytes(text, out):
    """Fill `out` with the whole numbers of `text`; returns whether the text is exactly that.

    text : (length,) uint8, cells of one to three digits, commas between them, one newline between rows, none at the end
    out : (n_rows, width) uint8, which it fills; of no use if the result is False

    Cost: one pass over the characters. Nothing beyond `length` is read, whatever the characters are.
    """
    n_rows, width = out.shape
    at, length = 0, len(text)
    for row in range(n_rows):
        for column in range(width):
            value, digits = 0, 0
            while at < length and _ZERO <= text[at] <= _NINE:
                value = 10 * value + (text[at] - _ZERO)
                digits += 1
                at += 1
                if digits > _MOST_DIGITS:
                    return False
            if digits == 0 or value > _MOST:
                return False
            out[row, column] = value
            if column < width - 1 or row < n_rows - 1:
                wanted = _COMMA if column < width - 1 else _NEWLINE
                if at >= length or text[at] != wanted:
                    return False
                at += 1
    return at == length
