"""Damage to files, for the tests of the code that reads them."""

from hypothesis import strategies as st

_KINDS = ["set", "cut", "repeat", "insert"]
MUTATIONS = st.lists(st.tuples(st.sampled_from(_KINDS), st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)


def mutate(raw: bytes, mutations) -> bytes:
    """`raw` with some bytes changed, deleted, repeated or inserted."""
    for kind, where, byte in mutations:
        at = int(where * len(raw))
        if kind == "set":
            raw = raw[:at] + bytes([byte]) + raw[at + 1 :]
        elif kind == "cut":
            raw = raw[:at] + raw[at + byte :]
        elif kind == "repeat":
            raw = raw[: at + byte] + raw[at:]
        else:
            raw = raw[:at] + bytes([byte]) * 3 + raw[at:]
    return raw
