"""K-Means: Lloyd's iterations from the same centres, and with each library's own k-means++ start."""

import functools

import numpy as np

from somknn_peers.contender import Contender, Work

CLUSTERS, ITERATIONS = 500, 10


def inputs(data, options, clusters=CLUSTERS):
    chosen = np.random.default_rng(0).choice(len(data.X_train), clusters, replace=False)
    return {"rows": data.X_train, "start": data.X_train[chosen]}


def _sklearn_like(module, dtype, *, draws=False, clusters=CLUSTERS, **settings):
    """dtype : None for rows as they are."""

    def prepare(inputs, options):
        import importlib
        import warnings

        kmeans = importlib.import_module(module).KMeans
        rows = inputs["rows"] if dtype is None else inputs["rows"].astype(dtype)
        start = inputs["start"].astype(np.float64 if rows.dtype == np.uint8 else rows.dtype)
        warnings.filterwarnings("ignore")  # convergence is not expected: only ten iterations are run

        def run(rows=rows, iterations=ITERATIONS):
            init = "k-means++" if draws else start
            model = kmeans(clusters, init=init, n_init=1, max_iter=iterations, tol=0, random_state=0, **settings)
            return model.fit(rows).cluster_centers_

        run(rows[: 2 * clusters], 1)
        return run

    return prepare


def _faiss(*, draws=False, clusters=CLUSTERS):
    def prepare(inputs, options):
        import faiss

        rows, start = inputs["rows"].astype(np.float32), None if draws else inputs["start"].astype(np.float32)

        def run(rows=rows, iterations=ITERATIONS):
            settings = {"max_points_per_centroid": len(rows), "min_points_per_centroid": 1}
            if draws:
                settings["init_method"] = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
            model = faiss.Kmeans(rows.shape[1], clusters, niter=iterations, **settings)
            model.train(rows, init_centroids=start)
            return model.centroids

        run(rows[: 2 * clusters], 1)
        return run

    return prepare


def _superkmeans(clusters):
    """All rows in every iteration, and all iterations: no sample, no early stop, one level. It draws its own start."""

    def prepare(inputs, options):
        from superkmeans import SuperKMeans

        rows = np.ascontiguousarray(inputs["rows"], np.float32)

        def run(rows=rows, iterations=ITERATIONS):
            settings = {"sampling_fraction": 1.0, "max_points_per_cluster": len(rows), "early_termination": False}
            model = SuperKMeans(
                clusters, rows.shape[1], hierarchical=False, iters=iterations, tol=0.0, n_threads=options["threads"],
                **settings,
            )  # fmt: skip
            return model.train(rows)

        run(rows[: 2 * clusters], 1)
        return run

    return prepare


def _answer(centres):
    return {"centres": np.asarray(centres, np.float64)}


def inertia(centres, rows):
    """Sum of squared distances to the nearest centre, pixels in [0, 1], by exact search."""
    from somknn.neighbors import ExactIndex

    squared, _ = ExactIndex("brute").fit(centres).search(rows.astype(np.float64), 1)
    return float(squared.sum()) / 255**2


def judge(ours, theirs, inputs):
    own, other = (inertia(found["centres"], inputs["rows"]) for found in (ours, theirs))
    return abs(other / own - 1), f"inertia {other:,.0f}" if other > 1000 else f"inertia {other:.4g}"


def multiply_adds(inputs, options):
    return float(ITERATIONS) * len(inputs["start"]) * inputs["rows"].size


def _contenders(*, draws):
    made = functools.partial(_sklearn_like, draws=draws)
    return (
        Contender(
            "somknn", ("somknn.prototypes",), ("somknn",), made("somknn", np.uint8), _answer, "uint8", floats=False
        ),
        Contender(
            "FAISS",
            ("faiss",),
            ("faiss-cpu",),
            _faiss(draws=draws),
            _answer,
            "Kmeans on all rows, float32" + (", k-means++ without trials" if draws else ""),
            environment={"OMP_WAIT_POLICY": "PASSIVE"},
        ),
        Contender(
            "scikit-learn-intelex",
            ("sklearnex",),
            ("scikit-learn-intelex",),
            made("sklearnex.cluster", np.float32),
            _answer,
            "lloyd, float32",
        ),
        Contender(
            "scikit-learn",
            ("sklearn",),
            ("scikit-learn",),
            made("sklearn.cluster", np.float32),
            _answer,
            "lloyd, float32",
        ),
    )


KMEANS = Work(
    "kmeans",
    "K-Means",
    f"K-Means, {CLUSTERS} clusters, {ITERATIONS} iterations",
    inputs,
    _contenders(draws=False),
    judge,
    0.001,
    multiply_adds,
)

# The starts are random, so the inertias differ by chance.
KMEANS_STARTED = Work(
    "kmeans-started",
    "K-Means with its start",
    f"K-Means, {CLUSTERS} clusters, k-means++ start and {ITERATIONS} iterations",
    inputs,
    _contenders(draws=True),
    judge,
    0.02,
    multiply_adds,
)

# As FAISS draws: one candidate per centre.
KMEANS_DRAWN = Work(
    "kmeans-drawn",
    "K-Means, single draws",
    f"K-Means, {CLUSTERS} clusters, k-means++ start of single draws and {ITERATIONS} iterations",
    inputs,
    (
        Contender(
            "somknn",
            ("somknn.prototypes",),
            ("somknn",),
            _sklearn_like("somknn", np.uint8, draws=True, n_local_trials=1),
            _answer,
            "uint8",
            floats=False,
        ),
        _contenders(draws=True)[1],
    ),
    judge,
    0.02,
    multiply_adds,
)


def _many(clusters):
    """So many clusters of rows as they come: bytes, floats, embeddings."""
    made = functools.partial(_sklearn_like, clusters=clusters)
    contenders = (
        Contender("somknn", ("somknn.prototypes",), ("somknn",), made("somknn", None), _answer, "rows as they are"),
        Contender(
            "SuperKMeans",
            ("superkmeans",),
            ("superkmeans",),
            _superkmeans(clusters),
            _answer,
            "all rows, all iterations, one level; its own start; not exact",
        ),
        Contender(
            "FAISS",
            ("faiss",),
            ("faiss-cpu",),
            _faiss(clusters=clusters),
            _answer,
            "Kmeans on all rows, float32",
            environment={"OMP_WAIT_POLICY": "PASSIVE"},
        ),
        Contender(
            "scikit-learn-intelex",
            ("sklearnex",),
            ("scikit-learn-intelex",),
            made("sklearnex.cluster", np.float32),
            _answer,
            "lloyd, float32",
        ),
    )
    return Work(
        f"kmeans-{clusters}",
        f"K-Means, {clusters:,} clusters",
        f"K-Means, {clusters:,} clusters, {ITERATIONS} iterations",
        functools.partial(inputs, clusters=clusters),
        contenders,
        judge,
        0.02,  # SuperKMeans cannot begin from given centres
        multiply_adds,
    )


MANY = (_many(1_000), _many(4_000))
