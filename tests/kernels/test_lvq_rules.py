"""The two rules that show one row at a time, against their plain twins."""

import numpy as np
import pytest

from reference import lvq as plain
from somknn_kernels import lvq


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("rule", ["lvq1_epoch", "lvq21_epoch"])
@pytest.mark.parametrize("n_prototypes", [1, 2, 7])
def test_equals_the_plain_twin(kind, rule, n_prototypes):
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (90, 11)).astype(kind)
    codes, prototype_codes = random.integers(0, 3, 90), random.integers(0, 3, n_prototypes)
    order, rates = random.permutation(90)[:80], random.uniform(0, 0.2, 80)
    start = rows[:n_prototypes] + random.normal(size=(n_prototypes, 11))
    ours, theirs = start.copy(), start.copy()
    window = () if rule == "lvq1_epoch" else (0.3,)
    wrong = getattr(lvq, rule)(rows, codes, order, rates, *window, ours, prototype_codes)
    assert wrong == getattr(plain, rule)(rows, codes, order, rates, *window, theirs, prototype_codes)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert rule == "lvq21_epoch" or not np.allclose(ours, start)
