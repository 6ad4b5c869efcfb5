"""Lines of a stream, read block by block: the same as line by line, and fast for blank lines."""

import gzip
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from somknn.batch.sources import open_source
from somknn.datasets import readers
from somknn.datasets.labelled import Asked, read_csv


def one_by_one(content, number=0, end=0):
    found = []
    for raw in io.BytesIO(content[end:]):
        number, end = number + 1, end + len(raw)
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        if text.strip():
            found.append((number, end, text))
    return found


class Dribble(io.BytesIO):
    """Returns a few bytes at a time, as a pipe may."""

    def read1(self, size=-1):
        return super().read1(min(size, 3))


PIECES = st.sampled_from(
    ["1,2", "", " ", "\t", "\r", "\x0b", "\n", "\n\n\n", "\r\n", "ä;ö", "\u00a0", "\u2028", "\ufeff", "7" * 30]
)


@pytest.mark.parametrize("stream", [io.BytesIO, Dribble])
@pytest.mark.parametrize(("some", "block"), [(1, 1), (5, 16), (1 << 16, 1 << 20)])
@given(pieces=st.lists(PIECES), where=st.floats(0, 1))
def test_the_same_lines(stream, some, block, pieces, where):
    content = "".join(pieces).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_SOME", some)
        patch.setattr(readers, "BLOCK", block)
        found = list(readers.lines(stream(content), "name"))
        expected = one_by_one(content)
        assert [(number, text) for number, _, text in found] == [(number, text) for number, _, text in expected]
        if content.endswith(b"\n"):
            assert found == expected
        if found:  # continue from any of them
            number, end, _ = found[int(where * (len(found) - 1))]
            behind = stream(content)
            behind.seek(end)
            assert list(readers.lines(behind, "name", number, end)) == [each for each in found if each[0] > number]


def test_what_is_no_text_and_what_is_too_long(monkeypatch):
    stream = readers.lines(io.BytesIO(b"1\n\n\n2\n\xff3\n4\n"), "name")
    assert [next(stream)[2], next(stream)[2]] == ["1", "2"]
    with pytest.raises(ValueError, match=r"^name, line 5: not UTF-8 text"):
        next(stream)
    monkeypatch.setattr(readers, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(readers, "BLOCK", 64)
    for filling in (b"7", b" "):
        stream = readers.lines(io.BytesIO(b"1\n\n" + filling * 5000), "name")
        next(stream)
        with pytest.raises(ValueError, match=r"^name, line 3: longer than 1,000 bytes"):
            next(stream)
    assert len(list(readers.lines(io.BytesIO(b"7" * 990 + b"\n" + b"8" * 990), "name"))) == 2


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n"])
def test_millions_of_blank_lines(tmp_path, blank):
    """A small archive must not stall a command: one by one, these took 20 s of processor time; now 0.3."""
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for row in range(3):
            file.write(blank * 4_000_000 + b"%d,2,3\n" % row)
    begun = time.process_time()
    (chunk,) = open_source(str(path)).chunks(10, None)
    table = read_csv(path, Asked(label=1, header=False))
    assert time.process_time() - begun < 5
    assert chunk.values.tolist() == [[0, 2, 3], [1, 2, 3], [2, 2, 3]]
    assert (table.X.tolist(), table.y.tolist()) == ([[2, 3]] * 3, [0, 1, 2])
    assert chunk.cursor == (12_000_000 * len(blank) + 18, 12_000_003, 3)
