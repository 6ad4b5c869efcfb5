"""The cost of a cluster: MNIST jobs on this machine alone and over worker processes on it, turn by turn.

    python benchmarks/cluster.py --workers 4 --turns 3

Needs MNIST under $SOMKNN_DATA. Prints a table: seconds on one machine (all threads, no cluster), seconds over the
workers (one thread each), bytes over the loopback interface during a cluster turn, memory of a worker beyond that of an
idle one (the largest; USS: without pages shared between processes), and whether the answers are equal bit for bit. With
equally many busy cores in both, the ratio of the seconds is the cost of the cluster; the bytes include any other
traffic over the interface. Linux only.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import distributed
import numpy as np
import psutil

import somknn.batch
import somknn.distributed
from somknn import SOM, KMeans, KNeighborsClassifier, datasets
from somknn.neighbors import ExactIndex


def loopback_bytes():
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def worker_memory(client):
    return max(client.run(lambda: psutil.Process().memory_full_info().uss).values())


def jobs(client, folder, data, workers):
    """(name, function for one machine, function for the workers, comparison of the two results) of each job."""
    X, queries = data.X_train, data.X_test
    np.save(folder / "rows.npy", X)
    np.save(folder / "queries.npy", queries)
    KNeighborsClassifier(5).fit(X, data.y_train).save(folder / "model.safetensors")
    files = folder / "model.safetensors", folder / "queries.npy"
    options = {"chunk_bytes": len(queries) * 784 // (4 * workers)}

    def classified(engine, output, *arguments):
        engine(*files, folder / output, *arguments, **options)
        return [np.load(folder / output)]

    yield (
        "classify 10,000 rows, 5-NN of 60,000",
        lambda: classified(somknn.batch.classify, "one.npy"),
        lambda: classified(somknn.distributed.classify, "many.npy", client),
    )

    rows = somknn.distributed.open_rows(folder / "rows.npy", block_rows=-(-len(X) // workers))

    def searched(index, rows):
        return list(index.fit(rows).search(queries, 5))

    yield (
        "prepare 60,000 rows, search 10,000, k=5",
        lambda: searched(ExactIndex(), X),
        lambda: searched(somknn.distributed.ShardedIndex(client=client), rows),
    )
    one, many = ExactIndex().fit(X), somknn.distributed.ShardedIndex(client=client).fit(rows)

    def search(index):
        return lambda: list(index.search(queries, 5))

    yield "search 10,000 rows, k=5", search(one), search(many)
    del one, many

    som = {"epochs": 10, "random_state": 0}
    yield (
        "SOM 20×20, 10 epochs",
        lambda: [SOM(20, 20, **som).fit(X).codebook_],
        lambda: [somknn.distributed.fit(SOM(20, 20, **som), rows, client).codebook_],
    )
    for init in ("k-means++", "k-means||"):
        kmeans = {"n_clusters": 100, "max_iter": 10, "tol": 0, "init": init, "random_state": 0}
        yield (
            f"K-Means 100, {init}, 10 iterations",
            lambda kmeans=kmeans: [KMeans(**kmeans).fit(X).cluster_centers_],
            lambda kmeans=kmeans: [somknn.distributed.fit(KMeans(**kmeans), rows, client).cluster_centers_],
        )


def measure(one, many, client, turns):
    expected, found = one(), many()  # compiles, and loads the kernels in every worker
    equal = all(a.tobytes() == b.tobytes() for a, b in zip(expected, found, strict=True))
    times = {one: [], many: []}
    sent = []
    for _ in range(turns):
        for work in (one, many):
            before, start = loopback_bytes(), time.perf_counter()
            work()
            times[work].append(time.perf_counter() - start)
            if work is many:
                sent.append(loopback_bytes() - before)
    return statistics.median(times[one]), statistics.median(times[many]), statistics.median(sent), equal


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    arguments = parser.parse_args()
    print(
        "| job | one machine | cluster | ratio | MB sent | MB a worker | equal |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        distributed.LocalCluster(
            n_workers=arguments.workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        idle = worker_memory(client)
        for name, one, many in jobs(client, Path(folder), datasets.load("mnist"), arguments.workers):
            if arguments.only not in name:
                continue
            alone, together, sent, equal = measure(one, many, client, arguments.turns)
            memory = worker_memory(client) - idle
            figures = f"{alone:.2f} s | {together:.2f} s | {together / alone:.2f}"
            equality = "yes" if equal else "NO"
            print(f"| {name} | {figures} | {sent / 1e6:.1f} | {memory / 1e6:.0f} | {equality} |", flush=True)


if __name__ == "__main__":
    main()
