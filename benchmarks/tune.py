"""`somknn tune` on MNIST compared with ten-fold cross-validation by scikit-learn, turn by turn.

    python benchmarks/tune.py --turns 5

One `cross_val_score(cv=10)` of KNeighborsClassifier(5, n_jobs=-1) on float32 rows is estimated as ten times its first
fold. The command tries 60 candidates on all ten folds; its time includes Python's start and the report. Needs MNIST
under $SOMKNN_DATA and matplotlib.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from somknn import datasets

COMMAND = "from somknn.cli import main; main(prog_name='somknn')"


def seconds_of_a_fold(X: np.ndarray, y: np.ndarray) -> float:
    train, test = next(StratifiedKFold(10).split(X, y))
    fold = X[train], y[train], X[test], y[test]
    start = time.perf_counter()
    KNeighborsClassifier(5, n_jobs=-1).fit(*fold[:2]).score(*fold[2:])
    return time.perf_counter() - start


def seconds_of_the_command() -> float:
    with tempfile.TemporaryDirectory() as out:
        arguments = ["tune", "--dataset", "mnist", "--tie-break", "first", "--out", out]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    data = datasets.load("mnist")
    X = data.X_train.astype(np.float32)
    seconds_of_the_command()  # compiles
    ratios = []
    for turn in range(turns):
        fold, command = seconds_of_a_fold(X, data.y_train), seconds_of_the_command()
        ratios.append(10 * fold / command)
        print(f"turn {turn + 1}: fold {fold:.2f} s, tune {command:.2f} s, ten folds {ratios[-1]:.1f} times", flush=True)
    print(f"median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
