"""Ready-made digit classifiers that trade accuracy against time.

Their parameters were chosen on the MNIST training images; docs/lab-notes/images.md describes how, and
the accuracy they reach.
"""

from typing import Any

from sklearn.pipeline import Pipeline

from somknn.images.deformation import DeformationClassifier
from somknn.images.transformers import SMALLEST_TO_DESKEW, Deskew, GradientOrientation
from somknn.neighbors import KNeighborsClassifier

PRESETS = ("fast", "balanced", "accurate")


def preset(name: str, *, image_shape: tuple[int, int] | None = None, n_jobs: int | None = None) -> Any:
    """An unfitted classifier of images, given as rows of pixels.

    Parameters
    ----------
    name : {"fast", "balanced", "accurate"}
        "fast": deskewed pixels. "balanced": gradient directions of the deskewed image. "accurate": the same, with the
        nearest re-ranked by the image distortion model. Images with fewer than 12 rows or columns are not deskewed.
    image_shape : pair of int, default=None
        Rows and columns. None: square, or a single row if the number of features is not a square.
    n_jobs : int, default=None
        Threads; None and -1 mean all.

    Returns
    -------
    estimator
        With `fit`, `predict` and `predict_proba`.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from somknn.images import preset
    >>> preset("balanced").named_steps["classifier"].n_neighbors
    3
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    if name == "accurate":
        return DeformationClassifier(image_shape=image_shape, n_jobs=n_jobs)
    steps = [("deskew", Deskew(image_shape, smallest_side=SMALLEST_TO_DESKEW, n_jobs=n_jobs))]
    if name == "balanced":
        steps.append(("features", GradientOrientation(image_shape=image_shape, n_jobs=n_jobs)))
    return Pipeline([*steps, ("classifier", KNeighborsClassifier(3, n_jobs=n_jobs))])
