"""Image transformers: rows of pixels in, rows of pixels or features out."""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from somknn.fitted import one_state
from somknn.images.shapes import for_blocks, gaussian_matrix, resolve_image_shape
from somknn.neighbors.validation import validate_rows
from somknn.persistence import Savable
from somknn.persistence.contents import COLUMNS, Kind
from somknn_kernels.images import digit_centering, image_filters

# Square roots of smoothed Sobel magnitudes of uint8 images rarely exceed 21; the product saturates at 255.
_UINT8_GAIN = 12.0
SMALLEST_TO_DESKEW = 12
"""Deskewing helps if the shorter side has at least this many pixels: see the comparison in docs/lab-notes/images.md."""
LARGEST_SIGMA = 1000.0
"""Limit in pixels. A Gaussian is sampled out to 4σ; without a limit, a number in a model file could demand any amount
of memory.
"""
_LARGEST_STEP = 4096


class _ImageTransformer(TransformerMixin, Savable, BaseEstimator):
    """Common parts: image shape, dtypes, blocks. A subclass defines `_fill(images, out, rounding)`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_shape": ["array-like", None],
        "n_jobs": [Integral, None],
    }
    _saved_state: ClassVar[dict[str, Kind]] = dict(COLUMNS)
    _derived_state: ClassVar[tuple[str, ...]] = ("image_shape_",)
    image_shape: Any
    n_jobs: int | None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Store the shape of the images; nothing is learned.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Images, one row each.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters that are out of range or contradict each other: an image shape with another number of pixels,
            or a box that is larger than the new images.
        """
        self._validate_params()
        validate_rows(self, X, reset=True)
        self._derive()
        return self

    def _derive(self) -> None:
        """Compute the values that follow from the parameters and the number of features.

        Called by `fit`, and again when a model is loaded from a file.
        """
        self.image_shape_ = resolve_image_shape(self.image_shape, self.n_features_in_)

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        super()._restore(arrays, state)
        self._derive()

    def transform(self, X: Any) -> np.ndarray:
        """Transform every image.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Images, one row each.

        Returns
        -------
        ndarray of shape (m, n_features_out), uint8 for uint8 images, else float32
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        images = X.reshape(len(X), *self.image_shape_)
        out: np.ndarray = np.empty((len(X), *self._out_shape()), self._out_dtype(X.dtype))
        rounding = 0.5 if out.dtype == np.uint8 else 0.0
        operations = X.shape[1] * sum(self.image_shape_)  # the cost of one matrix per side
        for_blocks(lambda part: self._fill(images[part], out[part], rounding), len(X), self.n_jobs, operations)
        return out.reshape(len(X), -1)

    def _out_shape(self) -> tuple[int, ...]:
        return self.image_shape_

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._out_shape())

    def _out_dtype(self, dtype: np.dtype) -> type:
        return np.uint8 if dtype == np.uint8 else np.float32

    def _fill(self, images: np.ndarray, out: np.ndarray, rounding: float) -> None:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@one_state
class Deskew(OneToOneFeatureMixin, _ImageTransformer):
    """Shear every image about its centre of mass until it is upright.

    Parameters
    ----------
    image_shape : pair of int, default=None
        Rows and columns. None: square, or a single row if the number of features is not a square.
    center : bool, default=True
        Whether to move the centre of mass to the middle of the image as well.
    smallest_side : int, default=1
        Images whose shorter side has fewer pixels are left unchanged: interpolation blurs a small image more than
        deskewing helps. The presets use 12.
    n_jobs : int, default=None
        Threads; None and -1 mean all.

    Attributes
    ----------
    image_shape_ : tuple of int
        Rows and columns.
    n_features_in_ : int
        Pixels of an image.

    Notes
    -----
    The shear makes rows and columns uncorrelated: columns move by covariance / row variance per row, with linear
    interpolation (bilinear if the centre moves) and zeros beyond the border. uint8 images stay uint8 (rounded), others
    become float32. Only positive pixels count in the moments.

    References
    ----------
    R. G. Casey, "Moment normalization of handprinted characters", IBM Journal of Research and Development
    14(5), 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn.images import Deskew
    >>> slanted = np.array([[0, 0, 0, 9, 0], [0, 0, 9, 0, 0], [0, 9, 0, 0, 0]], dtype=np.uint8)
    >>> Deskew(image_shape=(3, 5)).fit_transform(slanted.reshape(1, -1)).reshape(3, 5)
    array([[0, 0, 9, 0, 0],
           [0, 0, 9, 0, 0],
           [0, 0, 9, 0, 0]], dtype=uint8)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_ImageTransformer._parameter_constraints,
        "center": ["boolean"],
        "smallest_side": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, image_shape: Any = None, *, center: bool = True, smallest_side: int = 1, n_jobs: int | None = None
    ) -> None:
        self.image_shape = image_shape
        self.center = center
        self.smallest_side = smallest_side
        self.n_jobs = n_jobs

    def _fill(self, images: np.ndarray, out: np.ndarray, rounding: float) -> None:
        if min(self.image_shape_) < self.smallest_side:
            out[...] = images
        else:
            image_filters.deskew(images, self.center, rounding, out)


@one_state
class Blur(OneToOneFeatureMixin, _ImageTransformer):
    """Smooth every image with a Gaussian, zeros beyond the border.

    Parameters
    ----------
    sigma : float, default=1.0
        Standard deviation in pixels, from 0 to 1000; the kernel is cut at 4 sigma.
    image_shape : pair of int, default=None
        Rows and columns. None: square, or a single row if the number of features is not a square.
    n_jobs : int, default=None
        Threads; None and -1 mean all.

    Attributes
    ----------
    image_shape_ : tuple of int
        Rows and columns.
    n_features_in_ : int
        Pixels of an image.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn.images import Blur
    >>> Blur(0.5, image_shape=(1, 5)).fit_transform(np.array([[0, 0, 100, 0, 0]], dtype=np.uint8))
    array([[ 0,  8, 62,  8,  0]], dtype=uint8)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_ImageTransformer._parameter_constraints,
        "sigma": [Interval(Real, 0, LARGEST_SIGMA, closed="both")],
    }

    def __init__(self, sigma: float = 1.0, *, image_shape: Any = None, n_jobs: int | None = None) -> None:
        self.sigma = sigma
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def _fill(self, images: np.ndarray, out: np.ndarray, rounding: float) -> None:
        down, across = (gaussian_matrix(side, self.sigma) for side in self.image_shape_)
        image_filters.smooth(images, down, across, rounding, out)


@one_state
class GradientOrientation(ClassNamePrefixFeaturesOutMixin, _ImageTransformer):
    """Strength and direction of strokes: eight planes of gradient direction, smoothed and sampled.

    Parameters
    ----------
    blur : float, default=None
        Standard deviation in pixels of the blur before the gradient. None: 0.7 at 28×28, scaled with the shorter side
        for other sizes.
    smoothing : float, default=None
        Standard deviation in pixels of the smoothing of the planes. None: 1.5 at 28×28, scaled likewise, at least 0.75.
    step : int, default=None
        Pixels between samples. None: 3 at 28×28, scaled likewise and rounded, at least 1.
    image_shape : pair of int, default=None
        Rows and columns. None: square, or a single row if the number of features is not a square.
    n_jobs : int, default=None
        Threads; None and -1 mean all.

    Attributes
    ----------
    image_shape_, grid_shape_ : tuple of int
        Rows and columns of an image and of the grid of samples.
    blur_, smoothing_, step_ : float, float, int
        The values in use.
    n_features_in_ : int
        Pixels of an image.

    Notes
    -----
    Features are square roots of smoothed gradient magnitudes, ordered by grid row, grid column, direction. For uint8
    images they are multiplied by 12 and rounded to uint8; for other images they are float32.

    References
    ----------
    C.-L. Liu, K. Nakashima, H. Sako, H. Fujisawa, "Handwritten digit recognition: benchmarking of state-of-the-art
    techniques", Pattern Recognition 36(10), 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn.images import GradientOrientation
    >>> GradientOrientation().fit_transform(np.zeros((5, 784), dtype=np.uint8)).shape
    (5, 648)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_ImageTransformer._parameter_constraints,
        "blur": [Interval(Real, 0, LARGEST_SIGMA, closed="both"), None],
        "smoothing": [Interval(Real, 0, LARGEST_SIGMA, closed="both"), None],
        "step": [Interval(Integral, 1, _LARGEST_STEP, closed="both"), None],
    }
    _derived_state: ClassVar = ("image_shape_", "blur_", "smoothing_", "step_", "grid_shape_")

    def __init__(
        self,
        *,
        blur: float | None = None,
        smoothing: float | None = None,
        step: int | None = None,
        image_shape: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.blur = blur
        self.smoothing = smoothing
        self.step = step
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def _derive(self) -> None:
        super()._derive()
        scale = min(self.image_shape_) / 28
        self.blur_ = float(0.7 * scale if self.blur is None else self.blur)
        self.smoothing_ = float(max(1.5 * scale, 0.75) if self.smoothing is None else self.smoothing)
        self.step_ = int(max(1, round(3 * scale)) if self.step is None else self.step)
        self.grid_shape_ = tuple(len(self._centers(side)) for side in self.image_shape_)

    def _centers(self, side: int) -> range:
        return range(min(self.step_ - 1, (side - 1) // 2), side, self.step_)

    def _out_shape(self) -> tuple[int, ...]:
        return (*self.grid_shape_, image_filters.DIRECTIONS)

    def _fill(self, images: np.ndarray, out: np.ndarray, rounding: float) -> None:
        blurs = [gaussian_matrix(side, self.blur_) for side in self.image_shape_]
        samples = [gaussian_matrix(side, self.smoothing_, np.array(self._centers(side))) for side in self.image_shape_]
        gain = _UINT8_GAIN if rounding else 1.0
        image_filters.gradient_orientation(images, *blurs, *samples, gain, rounding, out)


@one_state
class CenterDigit(ClassNamePrefixFeaturesOutMixin, _ImageTransformer):
    """Format the digit in every image as in MNIST: bright on black, cropped, scaled, centred by its centre of mass.

    For digits that were photographed, scanned or drawn. The image may have any size, the digit may be anywhere in it,
    dark on bright or bright on dark, and the paper may be lit from one side.

    Parameters
    ----------
    size : int, default=28
        Rows and columns of the new images.
    box : int, default=None
        Pixels of the longer side of the digit. None: 20 at size 28, scaled for other sizes.
    polarity : {"auto", "bright", "dark"}, default="auto"
        Whether ink is brighter or darker than paper. "auto" decides for each image: ink covers the smaller area.
    image_shape : pair of int, default=None
        Rows and columns of the given images. None: square, or a single row if the number of features is not a square.
    n_jobs : int, default=None
        Threads; None and -1 mean all.

    Attributes
    ----------
    image_shape_ : tuple of int
        Rows and columns of the given images.
    box_ : int
        The value in use.
    n_features_in_ : int
        Pixels of a given image.

    Notes
    -----
    The centre of mass goes to pixel (size // 2, size // 2), as in MNIST. The result is uint8 for any input dtype, with
    the mean brightness of the strokes at 255. The paper level is the median of the border, or a plane fitted to it if
    the border varies; pixels that differ from it by more than three deviations of the border are ink. Otsu's threshold
    finds the strokes, which determine the frame. The frame keeps its aspect ratio. An image without ink becomes black.
    The border of an image should be mostly paper, and the digit should be the only object on it.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998, section III.A.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on Systems, Man, and
    Cybernetics 9(1), 1979.

    Examples
    --------
    A black bar on white paper, twice as high as wide, at any position:

    >>> import numpy as np
    >>> from somknn.images import CenterDigit
    >>> photo = np.full((30, 40), 200, dtype=np.uint8)
    >>> photo[3:11, 30:34] = 20
    >>> centered = CenterDigit(7, box=4, image_shape=(30, 40)).fit_transform(photo.reshape(1, -1))
    >>> centered.reshape(7, 7)
    array([[  0,   0,   0,   0,   0,   0,   0],
           [  0,   0,  64, 128,  64,   0,   0],
           [  0,   0, 128, 255, 128,   0,   0],
           [  0,   0, 128, 255, 128,   0,   0],
           [  0,   0, 128, 255, 128,   0,   0],
           [  0,   0,  64, 128,  64,   0,   0],
           [  0,   0,   0,   0,   0,   0,   0]], dtype=uint8)

    Images of different sizes go one at a time; nothing is learned, so each may have its own transformer.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_ImageTransformer._parameter_constraints,
        "size": [Interval(Integral, 1, 4096, closed="both")],
        "box": [Interval(Integral, 1, None, closed="left"), None],
        "polarity": [StrOptions({"auto", "bright", "dark"})],
    }
    _derived_state: ClassVar = ("image_shape_", "box_")

    def __init__(
        self,
        size: int = 28,
        *,
        box: int | None = None,
        polarity: str = "auto",
        image_shape: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.size = size
        self.box = box
        self.polarity = polarity
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def _derive(self) -> None:
        super()._derive()
        self.box_ = max(1, round(self.size * 20 / 28)) if self.box is None else self.box
        if self.box_ > self.size:
            raise ValueError(f"box = {self.box_} is larger than size = {self.size}")

    def _out_shape(self) -> tuple[int, ...]:
        return (self.size, self.size)

    def _out_dtype(self, dtype: np.dtype) -> type:
        return np.uint8

    def _fill(self, images: np.ndarray, out: np.ndarray, rounding: float) -> None:
        polarity = {"auto": digit_centering.AUTO, "bright": digit_centering.BRIGHT, "dark": digit_centering.DARK}
        digit_centering.center_digit(images, polarity[self.polarity], self.box_, out)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
