"""Measure the peak rates of this machine: float32 matrix products, and products of bytes."""

import time

import numpy as np

from somknn_kernels import isa as isa_module
from somknn_kernels.ir.layout import byte_panels, byte_queries
from somknn_kernels.parallel import available_threads, run_tasks
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.products import dot_tile_of_groups

_SIZE = 2048
_WIDTH = 784  # bytes of a row


@kernel
def repeat_tile(isa, queries, groups, counts, panels, out, repeats):
    """The tile of inner products on panels that lie in the level-1 cache, `repeats` times each."""
    for _ in range(repeats):
        for p in range(panels.shape[0]):
            dot_tile_of_groups(isa, queries, 0, groups, counts, panels, p, out)


class Peaks:
    """Samples of both rates, in 10⁹ multiply-adds per second over all threads; taken between the turns."""

    def __init__(self):
        random = np.random.default_rng(0)
        self._left, self._right = random.random((2, _SIZE, _SIZE), np.float32)
        self._isa = isa_module.select()
        queries, rows = byte_queries(self._isa), byte_panels(self._isa)
        self._queries, self._panels = np.ones_like(queries.zeros(1, _WIDTH)), np.ones_like(rows.zeros(1, _WIDTH))
        n_groups = self._panels.shape[1]
        self._used = np.arange(n_groups, dtype=np.int32)[None], np.array([n_groups])
        self.instruction_set = isa_module.name_of(self._isa)
        self.sgemm: list[float] = []
        self.integers: list[float] = []
        self._product = np.empty_like(self._left)
        self._tile_run(1)
        self._multiply()

    def _multiply(self):
        np.matmul(self._left, self._right, out=self._product)
        return float(_SIZE) ** 3

    def _tile_run(self, repeats):
        n = available_threads()
        outs = [np.empty((self._queries.shape[2], self._panels.shape[2]), np.int32) for _ in range(n)]
        run_tasks(lambda i: repeat_tile(self._isa, self._queries, *self._used, self._panels, outs[i], repeats), n, n)
        return float(n) * repeats * self._queries.shape[2] * self._panels.shape[2] * _WIDTH

    def sample(self):
        """Add one sample of each, the best of three short runs."""
        self.sgemm.append(max(_rate(self._multiply) for _ in range(3)))
        self.integers.append(max(_rate(lambda: self._tile_run(40_000)) for _ in range(3)))


def _rate(work):
    began = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - began) / 1e9
