"""How long brute force goes on before something better is prepared.

A better search costs time before its first answer: axes, codes and an order of the rows take tenths of a second, and on
a new machine its kernels take seconds to compile. Whether that pays is not known before the queries come. So small
work begins by brute force, which needs one kernel. When brute force has taken about as long as the preparations would,
they are made: at worst, both are paid for. No deterministic rule that does not know the future can promise more (the
ski rental problem: A. Karlin et al., "Competitive snoopy caching", Algorithmica 3, 1988).

Time is reckoned from the number of operations, not measured. So the same calls always go the same way.
"""

import contextlib
from collections.abc import Iterator

_ALL = 0.05e9  # nanoseconds of all calls together: about as long as axes, codes and an order of few rows take
_CALL = 6e6  # nanoseconds: a call that takes longer is not small work

_withheld = False


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """In this block nothing is small work: few rows are searched as many are."""
    global _withheld
    before, _withheld = _withheld, True
    try:
        yield
    finally:
        _withheld = before


class Allowance:
    """What brute force may still take. If several threads ask at once, a call may go uncounted.

    given : whether there is any
    """

    def __init__(self, given: bool = True) -> None:
        self._left = _ALL if given and not _withheld else 0.0

    def covers(self, nanoseconds: float) -> bool:
        """Whether the next call, which takes so long by brute force, is still to be answered that way."""
        self._left -= nanoseconds if nanoseconds <= _CALL else _ALL
        return self._left > 0.0
