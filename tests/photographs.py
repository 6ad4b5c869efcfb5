"""Digits as photographed: MNIST images of any size, anywhere on unevenly lit paper, with noise."""

import numpy as np
from scipy import ndimage


def photograph(images, shape, zoom, seed, *, dark_ink=True, noise=5.0, light=0.3):
    """(n, rows, columns) uint8 from (n, 28, 28): scaled by `zoom`, at random positions in images of shape `shape`."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    photographs = []
    for image in images:
        digit = ndimage.zoom(image.astype(float), zoom, order=1)
        top, left = (rng.integers(0, free + 1) for free in np.subtract(shape, digit.shape))
        paper = np.zeros(shape)
        paper[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
        paper = 230 - 0.7 * paper if dark_ink else 20 + 0.8 * paper
        paper *= 1 + light * (columns / shape[1] + rows / shape[0] - 1)
        photographs.append(paper + noise * rng.standard_normal(shape))
    return np.clip(np.rint(photographs), 0, 255).astype(np.uint8)
