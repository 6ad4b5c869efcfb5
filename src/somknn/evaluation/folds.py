"""Training neighbours of the test rows of every split, from as few searches as possible.

If every row is tested once, against all rows of the other folds, then one search of the rows among themselves is
enough: it leaves out each row's own fold (`ExactIndex.search_rows`) and compares each pair of rows once.

Otherwise one search over all rows asks for more neighbours than needed, and each split keeps those that are among its
training rows. A list in (distance, row) order stays in order when rows are removed, so if enough rows are left they are
exactly the nearest training rows. If too few are left, the list was too short: those rows are searched again with twice
the length.

On MNIST (10 folds, 30 neighbours, 41 requested) some 2% of the rows are searched again, counted on full lists. The
search across folds takes less than two thirds of the time. Searching fold by fold compares a tenth fewer pairs but fits
ten indexes; it is used if a split trains on too small a share of the data.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets

from somknn.neighbors.weighting import first_allowed
from somknn.search.cosine import CosineIndex
from somknn.search.index import ExactIndex

_SHARED_AT_MOST = 1.3  # of the number of pairs that searches split by split would compare

Split = tuple[np.ndarray, np.ndarray]


def make_splits(y: np.ndarray, cv: Any) -> list[Split]:
    """The (training rows, test rows) of every split, as scikit-learn's `check_cv` makes them.

    An integer `cv` means `StratifiedKFold(cv)` without shuffling. Raises ValueError if a class has fewer rows than an
    integer `cv` (scikit-learn only warns), or if `cv` is neither an integer of at least 2 nor a splitter.
    """
    check_classification_targets(y)
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        if cv < 2:
            raise ValueError(f"cv must be at least 2 folds, got {cv}")
        classes, counts = np.unique(y, return_counts=True)
        rarest = int(np.argmin(counts))
        if counts[rarest] < cv:
            raise ValueError(
                f"class {classes[rarest]!s} has {counts[rarest]} rows, fewer than the {cv} folds of the "
                f"cross-validation; use at most {counts[rarest]} folds or leave the class out"
            )
    splitter = check_cv(cv, y, classifier=True)
    return [(np.asarray(train), np.asarray(test)) for train, test in splitter.split(np.zeros(len(y)), y)]


def _folds(splits: list[Split], n: int) -> np.ndarray | None:
    """The number of the split that tests each row.

    None unless each row is tested exactly once and is in the training set of all other splits.
    """
    folds = np.full(n, -1, np.int64)
    for s, (train, test) in enumerate(splits):
        if len(train) + len(test) != n or (folds[test] >= 0).any():
            return None
        folds[test] = s
        trained = np.zeros(n, np.bool_)
        trained[train] = True
        if trained.sum() != len(train) or trained[test].any():
            return None
    return folds if (folds >= 0).all() else None


class FoldNeighbors:
    """The nearest training rows of each split's test rows.

    Parameters
    ----------
    index : ExactIndex or CosineIndex
        Fitted with all rows.
    codes : ndarray (n,), int32
        Class codes of the rows.
    splits : list of (training rows, test rows)
    k : int
        Neighbours per row; at most the number of rows of the smallest training set.

    Attributes
    ----------
    shared : bool
        Whether one search serves all splits.
    searched_again : int
        Rows whose first list was too short.
    """

    def __init__(
        self,
        index: ExactIndex | CosineIndex,
        codes: np.ndarray,
        splits: list[Split],
        k: int,
    ):
        self._index, self._X, self._n_jobs = index, index.rows_, index.n_jobs
        self._codes, self._splits, self._k = np.ascontiguousarray(codes, np.int32), splits, k
        smallest = min(len(train) for train, _ in splits)
        if k > smallest:
            raise ValueError(
                f"n_neighbors={k} is more than the {smallest} training rows of the smallest split; ask for fewer"
            )
        n = len(self._X)
        self.shared, self.searched_again = True, 0
        folds = _folds(splits, n) if index.algorithm_ != "brute" and k <= n // 8 else None
        self._apart = folds is not None
        if folds is not None:
            self._squared, self._indices = index.search_rows(k, folds)
            return
        tested = np.unique(np.concatenate([test for _, test in splits]))
        pairs_split_by_split = sum(len(train) * len(test) for train, test in splits)
        self.shared = len(tested) * n <= _SHARED_AT_MOST * pairs_split_by_split
        if self.shared:
            share = smallest / n
            # The number of list entries in the training set is about binomial: its mean is three standard deviations
            # above k.
            self._length = min(n, math.ceil((k + 3 * math.sqrt(k * (1 - share))) / share) + 1)
            queries = self._X if len(tested) == n else self._X[tested]
            self._squared, self._indices = index.search(queries, self._length)
            self._place = np.full(n, -1)
            self._place[tested] = np.arange(len(tested))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each split: class codes (m, k) int32 and squared distances (m, k) of its test rows' neighbours."""
        for train, test in self._splits:
            if self._apart:
                yield self._codes[self._indices[test]], self._squared[test]
            elif self.shared:
                yield self._from_shared(train, test)
            else:
                index = type(self._index)(self._index.algorithm, n_jobs=self._n_jobs).fit(self._X[train])
                squared, indices = index.search(self._X[test], self._k)
                yield self._codes[train[indices]], squared

    def _from_shared(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        allowed = np.zeros(len(self._X), np.bool_)
        allowed[train] = True
        wanted = self._k, allowed, self._codes, self._n_jobs
        place = self._place[test]
        codes, squared, found = first_allowed((self._squared[place], self._indices[place]), *wanted)
        length, short = self._length, np.flatnonzero(found < self._k)
        self.searched_again += len(short)
        while len(short):
            length = min(len(self._X), 2 * length)
            longer, indices = self._index.search(self._X[test[short]], length)
            codes[short], squared[short], found = first_allowed((longer, indices), *wanted)
            short = short[found < self._k]
        return codes, squared
