"""Parameters of the image presets, compared by cross-validation on MNIST's 60,000 training images.

    SOMKNN_DATA=folder python benchmarks/select_presets.py [--only TEXT] [--folds 6] [--cache FOLDER] [--seconds S]

Six folds of 10,000 consecutive images: as far as the file keeps a writer's digits together, they are in one fold, just
as no writer of the test set is in the training set. The test images are never read.

Neighbours are saved in the cache folder for every variant and fold: an interrupted run continues where it stopped, and
`--seconds` sets a time limit. Empty the folder after a change of the code. `--folds 2` uses only the first two folds as
queries; they are still compared with the other 50,000 images.

Each line gives the number of errors for several numbers of voters, first with one vote each, then with (least cost /
cost) ** 4 votes. It ends with the number of images that only the first variant of the family classifies correctly, and
that only this one does, both with the last way of voting. Ten errors in 60,000 are 0.017 %.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np
import platformdirs
from sklearn.model_selection import KFold

from somknn import DeformationClassifier, datasets
from somknn.images import Deskew, GradientOrientation
from somknn.images.deformation import cost_weights
from somknn.neighbors import ExactIndex
from somknn.neighbors.weighting import winning_codes
from somknn_kernels.images import deformation

BASE = {"n_candidates": 100, "warp_range": 2, "context": 1, "saturation": 2 / 3, "deskew": True}
"""The reference for the variants of the distortion model; the library's defaults may differ."""
FOLDS = 6
DEPTH = 10  # neighbours saved
VOTES = ((1, 0), (3, 0), (4, 0), (5, 0), (7, 0), (3, 4), (5, 4), (7, 4), (10, 4))  # voters and `weighting`


def through(steps, *blocks):
    """The blocks of images, transformed by the steps."""
    for step in steps:
        blocks = tuple(step.fit_transform(block) for block in blocks)
    return blocks


def nearest(*steps):
    """Exact nearest neighbours of transformed images."""

    def neighbours(X, y, Q, study, fold):
        X, Q = through(steps, X, Q)
        return ExactIndex().fit(X).search(Q, DEPTH)

    return neighbours


def deformed(*steps, **options):
    """The nearest under the distortion model, of images that are optionally transformed first."""

    def neighbours(X, y, Q, study, fold):
        X, Q = through(steps, X, Q)
        return DeformationClassifier(DEPTH, **BASE | options).fit(X, y).kneighbors(Q)

    return neighbours


def feature_distances(X, Q, candidates):
    """Squared distances of the gradient features to those of (m, c) candidates."""
    X, Q = through([Deskew(), GradientOrientation()], X, Q)
    return np.array([((X[row].astype(np.int32) - q) ** 2).sum(axis=1) for q, row in zip(Q, candidates, strict=True)])


def distortions(options):
    """Costs of the distortion model with other options."""

    def costs(X, Q, candidates):
        model = DeformationClassifier(**BASE | options).fit(X, np.zeros(len(X)))
        costs = np.empty(candidates.shape, np.int64)
        rows = np.empty(candidates.shape, np.int64)
        levels = model._describe(Q)[1]
        deformation.idm_rerank(levels, model._levels, candidates, model.warp_range, model.context, costs, rows)
        # The kernel sorts the costs: restore the order of the candidates.
        order, back = rows.argsort(axis=1), candidates.argsort(axis=1).argsort(axis=1)
        return np.take_along_axis(np.take_along_axis(costs, order, axis=1), back, axis=1)

    return costs


def combined(first, other, share):
    """Order the neighbours of the variant `first` by its cost plus the other's, which gets the weight `share`."""

    def neighbours(X, y, Q, study, fold):
        costs, rows = study.neighbours(*first, fold)
        name, function = other
        more = study.cached(f"{first[0]}, {name}", fold, lambda: (function(X, Q, rows),))[0]
        both = (1 - share) * costs / costs.mean() + share * more / more.mean()
        order = np.lexsort((rows, both), axis=1)
        return np.take_along_axis(both, order, axis=1), np.take_along_axis(rows, order, axis=1)

    return neighbours


def together(first, second, k=5):
    """k neighbours of each of two variants, which vote together; costs are relative to the least."""

    def neighbours(X, y, Q, study, fold):
        costs, rows = zip(*(study.neighbours(*variant, fold) for variant in (first, second)), strict=True)
        costs = np.hstack([part[:, :k] / np.maximum(part[:, :1], 1) for part in costs])
        order = np.argsort(costs, axis=1, kind="stable")
        rows = np.hstack([part[:, :k] for part in rows])
        return np.take_along_axis(costs, order, axis=1), np.take_along_axis(rows, order, axis=1)

    return neighbours


IDM = ("idm", deformed())
MORE = ("idm, n_candidates=200", deformed(n_candidates=200))
UNCENTRED = ("idm, not centred", deformed(Deskew(center=False), deskew=False))
RAW = ("raw pixels' costs", distortions({"deskew": False}))
CONTEXT = ("costs of context 2", distortions({"context": 2}))
FEATURES = ("features' distances", feature_distances)

FAMILIES = {
    "fast": [
        ("deskewed and centred", nearest(Deskew())),
        ("deskewed only", nearest(Deskew(center=False))),
        ("raw", nearest()),
    ],
    "balanced": [
        ("gradients", nearest(Deskew(), GradientOrientation())),
        ("gradients, not centred", nearest(Deskew(center=False), GradientOrientation())),
        ("gradients, not deskewed", nearest(GradientOrientation())),
        *(
            (f"gradients, {name}={value}", nearest(Deskew(), GradientOrientation(**{name: value})))
            for name, values in {"blur": (0, 0.5, 1.0), "smoothing": (1.2, 1.8, 2.1), "step": (2, 4)}.items()
            for value in values
        ),
        ("gradients, blur=0.5, smoothing=1.2", nearest(Deskew(), GradientOrientation(blur=0.5, smoothing=1.2))),
        ("gradients, blur=0.5, smoothing=1.8", nearest(Deskew(), GradientOrientation(blur=0.5, smoothing=1.8))),
    ],
    "accurate": [
        IDM,
        ("idm, not deskewed", deformed(deskew=False)),
        UNCENTRED,
        *(
            (f"idm, {name}={value}", deformed(**{name: value}))
            for name, values in {
                "saturation": (0.5, 1),
                "n_candidates": (50, 200),
                "warp_range": (1, 3),
                "context": (0, 2),
            }.items()
            for value in values
        ),
        ("idm, n_candidates=200, saturation=0.5", deformed(n_candidates=200, saturation=0.5)),
        ("idm, n_candidates=400, saturation=0.5", deformed(n_candidates=400, saturation=0.5)),
    ],
    "two voters": [
        IDM,
        ("idm and not centred", together(IDM, UNCENTRED)),
        ("idm n_candidates=200 and not centred", together(MORE, UNCENTRED)),
        ("idm and warp_range=3", together(IDM, ("idm, warp_range=3", deformed(warp_range=3)))),
        ("idm and context=0", together(IDM, ("idm, context=0", deformed(context=0)))),
    ],
    "combined": [
        IDM,
        *(
            (f"idm and {other[0]}, share {share}", combined(IDM, other, share))
            for other in (FEATURES, RAW, CONTEXT)
            for share in (0.2, 0.35, 0.5, 0.7)
        ),
    ],
}


class Study:
    """The training images in folds, and the neighbours found so far."""

    def __init__(self, X, y, cache):
        self.X, self.y, self.cache = X, y, cache
        self.folds = [(train, held) for train, held in KFold(FOLDS).split(X)]

    def cached(self, name, fold, compute):
        """The arrays in the file of that name and fold, computed first if the file does not exist."""
        path = self.cache / f"{re.sub('[^a-z0-9.=]+', '-', name.lower())}-{fold}.npz"
        if not path.exists():
            arrays = compute()
            unfinished = path.with_suffix(".tmp.npz")
            np.savez(unfinished, *arrays)
            unfinished.replace(path)
        with np.load(path) as stored:
            return [stored[key] for key in stored.files]

    def neighbours(self, name, function, fold):
        """Costs and rows (of the fold's training images) of the variant's nearest, (m, DEPTH) each."""
        train, held = self.folds[fold]
        return self.cached(name, fold, lambda: function(self.X[train], self.y[train], self.X[held], self, fold))

    def right(self, name, function, fold):
        """For each number of voters, a mask of the correctly classified images of the fold."""
        train, held = self.folds[fold]
        costs, rows = self.neighbours(name, function, fold)
        answers = []
        for k, weighting in VOTES:
            part = np.ascontiguousarray(costs[:, :k]), np.ascontiguousarray(rows[:, :k])
            weights = cost_weights(part[0], weighting)
            codes = winning_codes(self.y[train].astype(np.int32), 10, part, weights, nearest_first=True, n_jobs=None)
            answers.append(codes == self.y[held])
        return np.array(answers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families or variants whose name holds this text")
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after this time")
    parser.add_argument("--cache", type=Path, default=platformdirs.user_cache_path("somknn") / "select_presets")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    data = datasets.load("mnist")
    study = Study(data.X_train, data.y_train, options.cache)
    end = time.monotonic() + options.seconds
    for family, variants in FAMILIES.items():
        votes = ", ".join(f"{k}{' weighted' if weighting else ''}" for k, weighting in VOTES)
        print(f"\n{family}: wrong with {votes} voters; right only there / only here")
        first = None
        for place, (name, function) in enumerate(variants):
            if place and options.only not in family and options.only not in name:
                continue
            rights = []
            for fold in range(options.folds):
                if time.monotonic() > end:
                    raise SystemExit("time is up: run again to go on")
                rights.append(study.right(name, function, fold))
            right = np.concatenate(rights, axis=1)
            first = right if first is None else first
            wrong = " ".join(f"{(~row).sum():5d}" for row in right)
            base, this = first[-1], right[-1]
            print(f"{wrong}   {(base & ~this).sum():4d} {(this & ~base).sum():4d}   {name}", flush=True)


if __name__ == "__main__":
    main()
