"""Whether neighbours are right: an oracle in NumPy, and what an answer says against it.

The oracle knows nothing of somknn's kernels. Its distances are those that somknn documents: integers between bytes,
otherwise float64, summed in eight running sums. Equal distances are ordered by row.
"""

import numpy as np

_PAIRS = 20_000_000  # values of a chunk of the oracle
_SLACK = 8.0  # times the machine epsilon and the root of the number of columns: a bound on errors that is never tight


def squared_distances(queries, rows):
    """Of pairs along the last axis: int64 between bytes, otherwise float64 in the documented order of summation."""
    if queries.dtype == rows.dtype == np.uint8:
        difference = queries.astype(np.int64) - rows
        return (difference * difference).sum(axis=-1)
    difference = queries.astype(np.float64) - rows
    d = difference.shape[-1]
    whole = d - d % 8
    sums = np.zeros((*difference.shape[:-1], 8))
    for start in range(0, whole, 8):
        sums += difference[..., start : start + 8] ** 2
    s = np.moveaxis(sums, -1, 0)
    total = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
    for column in range(whole, d):
        total = total + difference[..., column] ** 2
    return total


def nearest(queries, rows, k):
    """Squared distances and rows of the k nearest, by (distance, row).

    A product in float64 leaves out rows that are farther than its error allows; the others are compared one by one.
    """
    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
    norms, of_queries = (wide**2).sum(1), (asked**2).sum(1)
    error = _SLACK * np.finfo(np.float64).eps * rows.shape[1] * (norms.max() + of_queries)
    distances, neighbours = [], []
    chunk = max(1, _PAIRS // len(rows))
    for start in range(0, len(queries), chunk):
        at = slice(start, start + chunk)
        about = norms[None] - 2 * asked[at] @ wide.T + of_queries[at, None]
        kth = np.partition(about, k - 1, axis=1)[:, k - 1]
        for i, (row, bound) in enumerate(zip(about, kth + 2 * error[at], strict=True), start):
            left = np.flatnonzero(row <= bound)
            true = squared_distances(queries[i], rows[left])
            order = np.argsort(true, kind="stable")[:k]
            distances.append(true[order])
            neighbours.append(left[order])
    return np.array(distances), np.array(neighbours)


def true_distances(neighbours, inputs):
    """The distances of the rows that were found, ascending, (m, k).

    Numbers that are no row, and those that a list has before, count as infinitely far.
    """
    rows, queries = inputs["rows"], inputs["queries"]
    found = np.full(neighbours.shape, np.inf)
    for i, row in enumerate(neighbours):
        usable = np.unique(row[(row >= 0) & (row < len(rows))])
        found[i, : len(usable)] = np.sort(squared_distances(queries[i], rows[usable]))
    return found


def judge(ours, theirs, inputs):
    """Share of queries whose neighbours are farther than those of `ours` by more than the peer's arithmetic explains.

    Rows at equal distances are interchangeable. Where the inputs hold the oracle's lists of the first queries
    (`oracle_distances`, `oracle_neighbours`), an answer of no `precision` has to equal them bit for bit, in order.
    """
    precision = float(theirs.get("precision", 0))
    expected, found = (true_distances(each["neighbours"], inputs) for each in (ours, theirs))
    if "oracle_distances" in inputs:
        expected[: len(inputs["oracle_distances"])] = inputs["oracle_distances"]
        if precision == 0:
            return _judge_exact(ours, theirs, inputs)
    differ = (found != expected).any(axis=1)
    wrong = differ
    if precision:
        wrong = (np.abs(found - expected) > allowed_error(precision, inputs)[:, None]).any(axis=1)
    words = words_of(differ, wrong)
    if "squared_distances" in theirs and (theirs["squared_distances"] < 0).any():
        words += "; negative distances"
    return float(wrong.mean()), words


def words_of(differ, wrong):
    """For the table. differ, wrong : whether a query's rows are others, and are so by more than rounding explains"""
    if wrong.any():
        return f"{wrong.mean():.2%} of the queries differ"
    return f"{differ.mean():.2%} of the queries differ, by rounding" if differ.any() else "equal"


def allowed_error(precision, inputs):
    """What rounding of values and sums explains of a squared distance, for each query.

    A product of matrices adds up the greatest squared norms.
    """
    rows, queries = inputs["rows"], inputs["queries"]
    parts = (rows[start : start + 65_536].astype(np.float64) for start in range(0, len(rows), 65_536))
    longest = max(float((part**2).sum(1).max()) for part in parts)
    return _SLACK * precision * np.sqrt(rows.shape[1]) * ((queries.astype(np.float64) ** 2).sum(1) + longest)


def _judge_exact(ours, theirs, inputs):
    """An answer of somknn: the oracle's lists, and the same as somknn's first contender everywhere."""
    count = len(inputs["oracle_distances"])
    names = {"neighbours": "oracle_neighbours", "squared_distances": "oracle_distances"}
    wrong = np.zeros(len(ours["neighbours"]), bool)
    for name, oracle in names.items():
        wrong |= (theirs[name] != ours[name]).any(axis=1)
        wrong[:count] |= (theirs[name][:count] != inputs[oracle]).any(axis=1)
    words = f"{wrong.mean():.2%} of the queries differ" if wrong.any() else f"exact ({count} queries bit for bit)"
    return float(wrong.mean()), words
