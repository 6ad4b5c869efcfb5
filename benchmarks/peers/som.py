"""Self-organizing maps: somknn against fastersom, XPySom and MiniSom, turn by turn in one process.

    python benchmarks/peers/som.py --rows 60000 --size 20 --epochs 10 --turns 5

MNIST under $SOMKNN_DATA; peers that are not installed are left out. Same start (rows of the data) and the same first and last
radius. Prints seconds of whole fits, ratios turn by turn, and the final quantization error with pixels in [0, 1], computed by
somknn for all. One warm-up of each comes before the first turn, so compilation is not in the figures. `--online`
compares the classical rule with MiniSom's `train`, on 2,000 rows.
"""

import argparse
import importlib.util
import statistics
import time

import numpy as np

from somknn import SOM, datasets


def somknn_fit(X, start, options):
    som = SOM(
        options.size,
        options.size,
        epochs=options.epochs,
        training="online" if options.online else "batch",
        initialization=start.astype(np.float64),
        initial_radius=options.size / 2,
        final_radius=0.5,
        random_state=0,
    )
    return som.fit(X).codebook_


def fastersom_fit(X, start, options):
    import torch
    from fastersom import BatchSOM

    torch.set_num_threads(options.threads)
    som = BatchSOM(
        n_rows=options.size,
        n_cols=options.size,
        n_epochs=options.epochs,
        sigma_initial=options.size / 2,
        sigma_final=0.5,
        init=(start / 255).reshape(-1, X.shape[1]).astype(np.float32),
    )
    som.fit(options.scaled)
    weights = getattr(som, "weights_", None)
    weights = som.weights if weights is None else weights
    return np.asarray(weights).reshape(start.shape) * 255.0


def xpysom_fit(X, start, options):
    from xpysom import XPySom

    som = XPySom(options.size, options.size, X.shape[1], sigma=options.size / 2, sigmaN=0.5, random_seed=0)
    som._weights = (start / 255).astype(np.float32)
    som.train(options.scaled, options.epochs)
    return np.asarray(som.get_weights()) * 255.0


def minisom_fit(X, start, options):
    from minisom import MiniSom

    som = MiniSom(options.size, options.size, X.shape[1], sigma=options.size / 2, learning_rate=0.5, random_seed=0)
    som._weights = start / 255
    som.train(options.scaled.astype(np.float64), len(X) * options.epochs, random_order=True)
    return som.get_weights() * 255.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--online", action="store_true")
    parser.add_argument("--peers", nargs="*", default=["fastersom", "xpysom"])
    options = parser.parse_args()
    if options.online:
        options.peers, options.rows, options.epochs = ["minisom"], min(options.rows, 2000), 1
    X = datasets.load("mnist").X_train[: options.rows]
    options.scaled = X.astype(np.float32) / 255
    chosen = np.random.default_rng(0).choice(len(X), options.size**2, replace=False)
    start = X[chosen].reshape(options.size, options.size, -1).astype(np.float64)
    known = {"fastersom": fastersom_fit, "xpysom": xpysom_fit, "minisom": minisom_fit}
    runs = {"somknn": somknn_fit}
    runs |= {name: known[name] for name in options.peers if importlib.util.find_spec(name)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    judge = SOM(options.size, options.size)
    for turn in range(options.turns + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            codebook = run(X, start, options)
            if turn:
                seconds[name].append(time.perf_counter() - began)
            else:
                judge.codebook_, judge.n_features_in_ = codebook.astype(np.float64), X.shape[1]
                print(f"{name}: final QE {judge.quantization_error(X) / 255:.4f}", flush=True)
    for name in runs:
        ratios = [peer / own for peer, own in zip(seconds[name], seconds["somknn"], strict=True)]
        median, ratio = statistics.median(seconds[name]), statistics.median(ratios)
        print(f"{name}: {median:.3f} s, {median / options.epochs:.4f} s an epoch; {ratio:.1f} times somknn's")


if __name__ == "__main__":
    main()
