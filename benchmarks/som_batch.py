"""Batch SOM training on MNIST compared with fastersom, turn by turn in one process: the whole fit, and one epoch.

    python benchmarks/som_batch.py --size 20 --epochs 10 --turns 11
    python benchmarks/som_batch.py --size 100 --peer-epochs 3

Both start with the same rows of the data and the same radii. The time of an epoch of somknn is the mean in `history_`;
that of fastersom is the difference between a fit of all epochs and a fit of one, divided by their number. Needs MNIST
under $SOMKNN_DATA, fastersom and torch.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from fastersom import BatchSOM

from somknn import SOM, datasets
from somknn_kernels.parallel import available_threads

LAST_RADIUS = 0.5


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10, help="At least 2.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer-epochs", type=int, help="At least 2: of fastersom's fit, fewer for a large map.")
    options = parser.parse_args()
    size, epochs, first_radius = options.size, options.epochs, options.size / 2
    peer_epochs = options.peer_epochs or epochs
    X = datasets.load("mnist").X_train
    start = X[np.random.default_rng(0).choice(len(X), size**2, replace=False)].reshape(size, size, -1)
    torch.set_num_threads(available_threads())
    scaled = torch.from_numpy(X.astype(np.float32) / 255)

    def radius(progress: float) -> float:  # fastersom's schedule: it would reach the last radius one epoch later
        return first_radius * (LAST_RADIUS / first_radius) ** (progress * (epochs - 1) / epochs)

    ours = SOM(size, size, epochs=epochs, initialization=start.astype(np.float64), radius_schedule=radius)

    def theirs(n_epochs: int) -> float:
        codebook = (start / 255).reshape(size * size, -1).astype(np.float32)
        peer = BatchSOM(size, size, n_epochs, sigma_initial=first_radius, sigma_final=LAST_RADIUS, init=codebook)
        return seconds(lambda: peer.fit(scaled))

    ours.fit(X)  # compiles
    theirs(1)
    fits, of_epochs = [], []
    for turn in range(options.turns):
        a, b = seconds(lambda: ours.fit(X)), theirs(peer_epochs)
        epoch, of_peer = statistics.mean(ours.history_["seconds"]), (b - theirs(1)) / (peer_epochs - 1)
        fits.append(b / a)
        of_epochs.append(of_peer / epoch)
        print(
            f"turn {turn + 1}: fits of {a:.2f} and {b:.2f} s, epochs of {epoch:.3f} and {of_peer:.3f} s: "
            f"{of_epochs[-1]:.1f} times",
            flush=True,
        )
    for name, ratios in (("fit", fits), ("epoch", of_epochs)):
        if name == "epoch" or peer_epochs == epochs:
            print(f"{name}: median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
