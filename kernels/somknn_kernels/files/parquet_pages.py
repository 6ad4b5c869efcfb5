"""The runs of a Parquet page: levels of lists that all have one length, and numbers that stand for dictionary entries.

A page holds both in one format (Apache Parquet, "Encodings", RLE / bit-packing hybrid): runs of one repeated number,
and runs of numbers of a few bits each, packed from the lowest bit on. General readers unpack every level of every
value: two numbers of 16 bits for each pixel, and the pixel itself through 32. Here levels are compared with what they
must be, run by run, and numbers become entries as they are unpacked. Whatever else a page holds ends the work, and a
general reader takes it.

A run begins with a number in 7-bit groups, lowest first: twice the length of a repeated run, whose value follows in
whole bytes; or twice the number of groups of 8 packed numbers, plus one.
"""

from somknn_kernels.policy import inlined, kernel

_MOST_SHIFT = 28  # a run's head fits into 32 bits


@inlined
def _head(data, at):
    """The head of the run at byte `at`, and where it ends; -1 if there is none."""
    head, shift = 0, 0
    while at < len(data) and shift <= _MOST_SHIFT:
        byte = int(data[at])
        at += 1
        head |= (byte & 127) << shift
        if byte < 128:
            return head, at
        shift += 7
    return -1, at


@inlined
def _number(data, at, n_bytes):
    """The number in `n_bytes` bytes from byte `at` on, lowest byte first."""
    value = 0
    for i in range(n_bytes):
        value |= int(data[at + i]) << (8 * i)
    return value


@kernel
def are_regular_levels(data, bit_width, n_values, level, width, first):
    """Whether the first `n_values` levels in `data` are those of lists of one length.

    data : (length,) uint8, runs; bit_width : bits of a packed level, 1 to 8
    width : 0 where all levels must be `level` (definition levels: nothing is missing); otherwise the length of the
    lists, whose repetition levels are 0 where a list begins and `level` within it. The first one is number `first` of
    all values.

    Cost: one step for each run, eight for each byte of packed levels.
    """
    at, done, n_bytes = 0, 0, (bit_width + 7) // 8
    mask = (1 << bit_width) - 1
    while done < n_values:
        head, at = _head(data, at)
        if head < 0 or head >> 1 == 0:
            return False
        if head & 1:
            groups = head >> 1
            if groups * bit_width > len(data) - at:
                return False
            bits, held, byte = 0, 0, at
            for _ in range(min(8 * groups, n_values - done)):
                while held < bit_width:
                    bits |= int(data[byte]) << held
                    byte += 1
                    held += 8
                wanted = level if width == 0 or (first + done) % width else 0
                if bits & mask != wanted:
                    return False
                bits >>= bit_width
                held -= bit_width
                done += 1
            at += groups * bit_width
        else:
            count = min(head >> 1, n_values - done)
            if n_bytes > len(data) - at:
                return False
            value = _number(data, at, n_bytes)
            at += n_bytes
            if width == 0:
                if value != level:
                    return False
            else:
                place = (first + done) % width
                within = value == level and place > 0 and place + count <= width
                if not (within or (value == 0 and place == 0 and (count == 1 or width == 1))):
                    return False
            done += count
    return True


@kernel
def look_up(data, bit_width, table, n_entries, out):
    """Fill `out` with the entries that the numbers in `data` stand for; returns whether that is what `data` holds.

    data : (length,) uint8, runs; bit_width : bits of a packed number, 0 to 32
    table : (at least n_entries and, for numbers of up to 8 bits, 256) entries of the dictionary
    out : (n_values,) of the table's dtype; of no use if the result is False

    Cost: a look-up for each value. Nothing outside `data` and `table` is read, whatever the numbers are.
    """
    at, done, n_values, n_bytes = 0, 0, len(out), (bit_width + 7) // 8
    mask, highest = (1 << bit_width) - 1, 0
    while done < n_values:
        head, at = _head(data, at)
        if head < 0 or head >> 1 == 0:
            return False
        if head & 1:
            groups = head >> 1
            if groups * bit_width > len(data) - at:
                return False
            count = min(8 * groups, n_values - done)
            if bit_width == 8:  # 256 entries are there, so that numbers are checked once for all
                for i in range(count):
                    number = data[at + i]
                    highest = max(highest, int(number))
                    out[done + i] = table[number]
            else:
                bits, held, byte = 0, 0, at
                for i in range(count):
                    while held < bit_width:
                        bits |= int(data[byte]) << held
                        byte += 1
                        held += 8
                    number = bits & mask
                    if number >= n_entries:
                        return False
                    out[done + i] = table[number]
                    bits >>= bit_width
                    held -= bit_width
            at += groups * bit_width
        else:
            count = min(head >> 1, n_values - done)
            if n_bytes > len(data) - at:
                return False
            number = _number(data, at, n_bytes)
            at += n_bytes
            if number >= n_entries:
                return False
            entry = table[number]
            for i in range(done, done + count):
                out[i] = entry
        done += count
    return highest < n_entries
