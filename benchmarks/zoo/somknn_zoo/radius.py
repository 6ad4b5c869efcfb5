"""All rows within a radius, by somknn and its peers: the `prepare` functions, and how their answers are judged.

They read `radius` from the options. scipy returns no distances and so does less than the others; pykdtree and PyTorch
have no such search. Answers have `starts` (m + 1,) and `neighbours`, ascending within a query.
"""

import numpy as np
from somknn_peers import judging, searchers


def somknn(algorithm):
    def prepare(inputs, options):
        from somknn.neighbors import ExactIndex

        if algorithm not in searchers.known_algorithms():
            raise ValueError(f"this version of somknn has no algorithm {algorithm!r}")
        rows, queries, squared = inputs["rows"], inputs["queries"], options["radius"] ** 2
        ExactIndex(algorithm).fit(rows[:2000]).search_within(queries[:50], squared)
        index = searchers.measured(options, lambda: ExactIndex(algorithm).fit(rows))
        index.search_within(queries[:50], squared)
        if algorithm == "auto":
            options["settings"] = f"{rows.dtype}, auto chose {index.algorithm_}"
        return searchers.runs(lambda part: index.search_within(part, squared), queries, False)

    return prepare


def scipy_tree(inputs, options):
    from scipy.spatial import cKDTree

    rows, queries = (np.ascontiguousarray(inputs[name], np.float64) for name in ("rows", "queries"))

    def searched(tree):
        return lambda part: tree.query_ball_point(part, options["radius"], workers=-1, return_sorted=False)

    best, tree = searchers.best_fitted(
        lambda size: cKDTree(rows, leafsize=size), searchers.LEAF_SIZES, searched, queries, options
    )
    options["settings"] = f"cKDTree, leafsize={best}, workers=-1, the best of {searchers.LEAF_SIZES}, no distances"
    return searchers.runs(searched(tree), queries, False)


def sklearn_tree(algorithm):
    def prepare(inputs, options):
        from sklearn.neighbors import NearestNeighbors

        rows, queries = (np.ascontiguousarray(inputs[name], np.float64) for name in ("rows", "queries"))

        def fit(size):
            return NearestNeighbors(
                radius=options["radius"], algorithm=algorithm, leaf_size=size, n_jobs=options["threads"]
            ).fit(rows)

        def searched(model):
            return model.radius_neighbors

        best, model = searchers.best_fitted(fit, searchers.LEAF_SIZES, searched, queries, options)
        options["settings"] = f"{algorithm}, leaf_size={best}, the best of {searchers.LEAF_SIZES}"
        return searchers.runs(searched(model), queries, False)

    return prepare


def faiss_flat(inputs, options):
    import faiss

    def fit():
        index = faiss.IndexFlatL2(inputs["rows"].shape[1])
        index.add(np.ascontiguousarray(inputs["rows"], np.float32))
        return index

    index = searchers.measured(options, fit)
    queries = np.ascontiguousarray(inputs["queries"], np.float32)
    return searchers.runs(lambda part: index.range_search(part, options["radius"] ** 2), queries, False)


def _ascending(starts, neighbours):
    starts = np.asarray(starts, np.int64)
    of_query = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    neighbours = np.asarray(neighbours, np.int64)
    return {"starts": starts, "neighbours": neighbours[np.lexsort((neighbours, of_query))]}


def answer_of_somknn(found):
    ((starts, squared, neighbours),) = found
    return {"starts": starts, "neighbours": neighbours, "squared_distances": squared, "precision": np.array(0.0)}


def answer_of_lists(found, *, precision):
    """Of peers that return one array or list of rows for each query; scikit-learn returns distances before."""
    (lists,) = found
    lists = lists[1] if isinstance(lists, tuple) else lists
    starts = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    return _ascending(starts, np.concatenate([np.asarray(each) for each in lists])) | {"precision": np.array(precision)}


def answer_of_faiss(found, *, precision):
    ((starts, _, neighbours),) = found
    return _ascending(starts, neighbours) | {"precision": np.array(precision)}


def oracle(queries, rows, radius):
    """starts, squared distances and rows of all pairs up to the radius, rows ascending."""
    found = []
    for query in queries:
        squared = judging.squared_distances(query, rows)
        near = np.flatnonzero(squared <= radius**2)
        found.append((squared[near], near))
    starts = np.concatenate([[0], np.cumsum([len(near) for _, near in found])])
    return starts, np.concatenate([squared for squared, _ in found]), np.concatenate([near for _, near in found])


def judge_within(radius):
    """The judge of a work. See `somknn_peers.judging.judge`; here a query differs if rows are missing or too many."""

    def judge(ours, theirs, inputs):
        count, precision = len(inputs["oracle_starts"]) - 1, float(theirs["precision"])
        names = ("neighbours",) if precision else ("neighbours", "squared_distances")
        expected = [_parts(ours, names, i) for i in range(len(inputs["queries"]))]
        checked = {name: inputs[f"oracle_{name}"] for name in ("starts", *names)}
        expected[:count] = [_parts(checked, names, i) for i in range(count)]
        found = [_parts(theirs, names, i) for i in range(len(inputs["queries"]))]
        differ = np.array([not all(map(np.array_equal, *pair)) for pair in zip(expected, found, strict=True)])
        if precision == 0:
            words = (
                f"{differ.mean():.2%} of the queries differ" if differ.any() else f"exact ({count} queries bit for bit)"
            )
            return float(differ.mean()), words
        allowed = judging.allowed_error(precision, inputs)
        wrong = np.zeros(len(differ), bool)
        for i in np.flatnonzero(differ):
            either = np.setxor1d(expected[i][0], found[i][0])
            squared = judging.squared_distances(inputs["queries"][i], inputs["rows"][either])
            wrong[i] = (np.abs(squared - radius**2) > allowed[i]).any() or len(np.unique(found[i][0])) < len(
                found[i][0]
            )
        return float(wrong.mean()), judging.words_of(differ, wrong)

    return judge


def _parts(answer, names, query):
    start, stop = answer["starts"][query : query + 2]
    return [answer[name][start:stop] for name in names]
