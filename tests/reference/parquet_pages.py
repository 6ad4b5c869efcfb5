"""Reference implementation of `somknn_kernels.files.parquet_pages`."""

import itertools


def numbers(data, bit_width, n_values):
    """The first `n_values` numbers of the runs in `data`, or None if they are not all there."""
    found, at = [], 0
    while len(found) < n_values:
        head = shift = 0
        for byte in itertools.islice(data, at, None):
            at += 1
            head |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 28:
                break
        else:
            return None
        if byte >= 128 or head < 2:
            return None
        if head & 1:
            size = (head >> 1) * bit_width
            packed = bytes(data[at : at + size])
            bits = int.from_bytes(packed, "little")
            run = [bits >> (i * bit_width) & ((1 << bit_width) - 1) for i in range(min(8 * (head >> 1), n_values))]
        else:
            size = (bit_width + 7) // 8
            packed = bytes(data[at : at + size])
            run = [int.from_bytes(packed, "little")] * min(head >> 1, n_values)
        if len(packed) < size:
            return None
        found += run
        at += size
    return found[:n_values]


def are_regular_levels(data, bit_width, n_values, level, width, first):
    """Whether all levels are `level`, or 0 at multiples of `width` and `level` elsewhere."""
    wanted = [level if width == 0 or (first + i) % width else 0 for i in range(n_values)]
    return numbers(data, bit_width, n_values) == wanted


def look_up(data, bit_width, entries, n_values):
    """The entries that the numbers stand for, or None."""
    found = numbers(data, bit_width, n_values)
    return None if found is None or any(each >= len(entries) for each in found) else [entries[i] for i in found]
