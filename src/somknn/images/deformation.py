"""`DeformationClassifier`: nearest neighbours among images that may be deformed."""

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from somknn.fitted import one_state
from somknn.images.shapes import for_blocks, resolve_image_shape
from somknn.images.transformers import SMALLEST_TO_DESKEW, Deskew, GradientOrientation
from somknn.machine import resolve_n_threads
from somknn.neighbors.validation import check_n_neighbors, validate_rows, validate_rows_and_targets
from somknn.neighbors.weighting import class_shares, winning_codes
from somknn.persistence import Savable
from somknn.persistence.contents import COLUMNS, ROWS, Array, Classes, Integer, Kind
from somknn.search.index import ExactIndex
from somknn_kernels.images import deformation, image_filters

_CHANNELS = 2
_LARGEST_SOBEL = 4.0  # largest Sobel gradient of pixels in [0, 1]
_QUERIES_PER_TASK = 16
_SOBEL = 40  # operations per pixel for computing the levels


def largest_level(context: int) -> int:
    """Largest gradient level for which a context sum of squared differences fits in 16 bits (and a level in int8)."""
    return min(127, math.isqrt(65535 // (_CHANNELS * (2 * context + 1) ** 2)) // 2)


def cost_weights(costs: np.ndarray, weighting: float) -> np.ndarray:
    """Votes (m, k) of neighbours with ascending costs (m, k): (least cost / cost) ** weighting; 1 where both are 0."""
    least = costs[:, :1].astype(np.float64)
    return np.divide(least, costs, out=np.ones(costs.shape), where=costs > 0) ** weighting


@one_state
class DeformationClassifier(ClassifierMixin, Savable, BaseEstimator):
    """Nearest neighbours under the image distortion model (IDM), among a shortlist by gradient features.

    Exact k-NN on `GradientOrientation` features finds the nearest `n_candidates` training images of every query. They
    are re-ranked by a distance that lets every pixel of the query move by up to `warp_range`, and the nearest
    `n_neighbors` of them vote.

    Parameters
    ----------
    n_neighbors : int, default=5
        Neighbours that vote.
    weighting : float, default=4.0
        A neighbour of cost c has (least cost / c) ** weighting votes, so the nearest has one vote; 0 gives every
        neighbour one vote.
    n_candidates : int, default=200
        Length of the shortlist; at least `n_neighbors`, and capped at the number of training images.
    warp_range : int, default=2
        Largest displacement of a pixel along rows and along columns, in pixels.
    context : int, default=1
        Radius of the square around a pixel that must match together: 1 means 3×3.
    saturation : float, default=2/3
        Gradients above this share of the steepest possible one are clipped to it, which gives the others finer levels;
        above 0, at most 1.
    features : {"gradients", "pixels"}, default="gradients"
        Basis of the shortlist: `GradientOrientation` features, or pixels.
    deskew : bool or "auto", default="auto"
        Whether images are deskewed first. "auto": unless the shorter side has fewer than 12 pixels.
    image_shape : pair of int, default=None
        Rows and columns. None: square, or a single row if the number of features is not a square.
    n_jobs : int, default=None
        Threads; None and -1 mean all. Never changes the answer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels.
    image_shape_ : tuple of int
        Rows and columns.
    pixel_range_ : float
        Largest absolute pixel of the training images (255 for uint8): the unit of gradient levels.
    n_features_in_, n_samples_fit_ : int
        Pixels of an image, number of training images.

    Notes
    -----
    Images with equal distortion costs are ordered by training row. Costs are integers: Sobel gradients are rounded to
    levels that keep every context sum within 16 bits.

    References
    ----------
    D. Keysers, T. Deselaers, C. Gollan, H. Ney, "Deformation models for image recognition", IEEE Transactions on
    Pattern Analysis and Machine Intelligence 29(8), 2007, section 3.4.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from somknn import DeformationClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = DeformationClassifier(warp_range=1).fit(X[:1500], y[:1500])
    >>> classifier.predict(X[1500:1505])
    array([1, 7, 4, 6, 3])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "weighting": [Interval(Real, 0, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "warp_range": [Interval(Integral, 0, 16, closed="both")],
        "context": [Interval(Integral, 0, 8, closed="both")],
        "saturation": [Interval(Real, 0, 1, closed="right")],
        "features": [StrOptions({"gradients", "pixels"})],
        "deskew": ["boolean", StrOptions({"auto"})],
        "image_shape": ["array-like", None],
        "n_jobs": [Integral, None],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "n_samples_fit_": Integer(1),
        "classes_": Classes(),
        "images": Array(("n_samples_fit_", "n_features_in_"), ROWS),
        "codes": Array(("n_samples_fit_",), "int32", below="classes_"),
    }
    _derived_state: ClassVar = ("image_shape_", "pixel_range_")

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weighting: float = 4.0,
        n_candidates: int = 200,
        warp_range: int = 2,
        context: int = 1,
        saturation: float = 2 / 3,
        features: str = "gradients",
        deskew: bool | str = "auto",
        image_shape: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weighting = weighting
        self.n_candidates = n_candidates
        self.warp_range = warp_range
        self.context = context
        self.saturation = saturation
        self.features = features
        self.deskew = deskew
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> "DeformationClassifier":
        """Store the labelled images.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Images, one row each.
        y : array-like of shape (n,)
            Labels of any sortable kind.

        Returns
        -------
        self
        """
        self._validate_params()
        X, y = validate_rows_and_targets(self, X, y, numeric_targets=False)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._codes = codes.astype(np.int32)
        self._fit_images(X)
        return self

    def _fit_images(self, X: np.ndarray) -> None:
        self.image_shape_ = resolve_image_shape(self.image_shape, X.shape[1])
        self.n_samples_fit_ = len(X)
        self.pixel_range_ = 255.0 if X.dtype == np.uint8 else float(np.abs(X).max()) or 1.0
        self._images = X
        features, self._levels = self._describe(X)
        self._index = ExactIndex(n_jobs=self.n_jobs).fit(features)

    @property
    def _input_dtype(self) -> np.dtype:
        return self._images.dtype

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_index")

    def _describe(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features for the shortlist and gradient levels (n, 2, rows, columns) of images."""
        shape = self.image_shape_
        if self.deskew:
            smallest_side = SMALLEST_TO_DESKEW if self.deskew == "auto" else 1
            X = Deskew(shape, smallest_side=smallest_side, n_jobs=self.n_jobs).fit_transform(X)
        features = X
        if self.features == "gradients":
            features = GradientOrientation(image_shape=shape, n_jobs=self.n_jobs).fit_transform(X)
        limit = largest_level(self.context)
        images = X.reshape(-1, *shape)
        levels = np.empty((len(X), _CHANNELS, *shape), np.int8)
        factor = limit / (self.saturation * _LARGEST_SOBEL * self.pixel_range_)
        for_blocks(
            lambda part: image_filters.sobel_levels(images[part], factor, limit, levels[part]),
            len(X),
            self.n_jobs,
            X.shape[1] * _SOBEL,
        )
        return features, levels

    def kneighbors(self, X: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Nearest training images under the distortion model, among the shortlist.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Images, one row each.
        n_neighbors : int, default=None
            Neighbours per image; by default the constructor's `n_neighbors`.

        Returns
        -------
        costs : ndarray of shape (m, n_neighbors), int64
            Distortion costs in squared gradient levels, ascending.
        indices : ndarray of shape (m, n_neighbors), int64
            Training rows; equal costs in order of row number.

        Raises
        ------
        ValueError
            For more neighbours than training images, NaN, infinity, or another number of features.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        k = check_n_neighbors(n_neighbors, self.n_neighbors)
        if k > self.n_samples_fit_:
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {self.n_samples_fit_}, n_samples = {len(X)}"
            )
        features, levels = self._describe(X)
        n_candidates = min(max(self.n_candidates, k), self.n_samples_fit_)
        candidates = self._index.search(features, n_candidates, n_threads=resolve_n_threads(self.n_jobs))[1]
        costs = np.empty((len(X), k), np.int64)
        indices = np.empty((len(X), k), np.int64)
        for_blocks(
            lambda part: deformation.idm_rerank(
                levels[part],
                self._levels,
                candidates[part],
                self.warp_range,
                self.context,
                costs[part],
                indices[part],
            ),
            len(X),
            self.n_jobs,
            # Most are abandoned early, all are vectorised.
            n_candidates * X.shape[1] * (2 * self.warp_range + 1) ** 2 / 4,
            _QUERIES_PER_TASK,
        )
        return costs, indices

    def predict(self, X: Any) -> np.ndarray:
        """The class of each image, by vote; if votes are equal, the class of the nearest neighbour wins.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Images, one row each.

        Returns
        -------
        ndarray of shape (m,)
            Labels, with the dtype of `y`.
        """
        codes = self._winners(*self.kneighbors(X))
        return self.classes_[codes]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Each class's share of the weighted votes.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Images, one row each.

        Returns
        -------
        ndarray of shape (m, n_classes), float64
            Columns in the order of `classes_`.
        """
        return self._shares(*self.kneighbors(X))

    def _winners(self, costs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        weights = cost_weights(costs, self.weighting)
        n_classes = len(self.classes_)
        return winning_codes(self._codes, n_classes, (costs, indices), weights, nearest_first=True, n_jobs=self.n_jobs)

    def _shares(self, costs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        weights = cost_weights(costs, self.weighting)
        return class_shares(self._codes, len(self.classes_), indices, weights, self.n_jobs)

    def _predict_in_one_search(self, X: Any) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """`predict` as positions in `classes_`, `predict_proba` and `kneighbors`, from one search."""
        neighbours = self.kneighbors(X)
        return self._winners(*neighbours), self._shares(*neighbours), neighbours

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        return {**arrays, "codes": self._codes, "images": self._images}, state

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        rest = {name: array for name, array in arrays.items() if name not in ("images", "codes")}
        super()._restore(rest, state)
        self._codes = arrays["codes"]
        self._fit_images(arrays["images"])
