"""One epoch of the classical rule over MNIST compared with MiniSom's `train`, per row, turn by turn.

    python benchmarks/som_online.py --turns 5

Both start with the same 20×20 rows of the data, radius and rate. MiniSom is presented with 2,500 rows, somknn with all
60,000, including its set-up and the last search for all units. Needs MNIST under $SOMKNN_DATA and minisom.
"""

import argparse
import statistics
import time

import numpy as np
from minisom import MiniSom

from somknn import SOM, datasets

SIZE, RADIUS, RATE, SHOWN = 20, 10, 0.5, 2500


def seconds_per_row(work, rows: int) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    X = datasets.load("mnist").X_train
    start = (
        X[np.random.default_rng(0).choice(len(X), SIZE**2, replace=False)].reshape(SIZE, SIZE, -1).astype(np.float64)
    )
    scaled = X[:SHOWN] / 255
    ours = SOM(
        SIZE, SIZE, training="online", epochs=1, initialization=start,
        initial_radius=RADIUS, initial_rate=RATE, random_state=0,
    )  # fmt: skip
    ours.fit(X)  # compiles
    ratios = []
    for turn in range(turns):
        peer = MiniSom(SIZE, SIZE, X.shape[1], sigma=RADIUS, learning_rate=RATE, random_seed=0)
        peer._weights = start / 255
        a = seconds_per_row(lambda: ours.fit(X), len(X))
        b = seconds_per_row(lambda peer=peer: peer.train(scaled, SHOWN, random_order=True), SHOWN)
        ratios.append(b / a)
        print(f"turn {turn + 1}: somknn {1e6 * a:.1f} us, MiniSom {1e6 * b:.0f} us, {b / a:.1f} times", flush=True)
    print(f"median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
