"""Reference implementations of `somknn_kernels.images.image_filters`, using SciPy's filters in float64."""

import numpy as np
from scipy import ndimage


def deskew(image, center):
    """The shear as an affine map of scipy.ndimage; floats, not rounded."""
    weights = np.maximum(image.astype(float), 0)
    rows, columns = np.indices(image.shape)
    if not weights.any():
        return image.astype(float)
    center_r, center_c = (np.average(place, weights=weights) for place in (rows, columns))
    variance = np.average((rows - center_r) ** 2, weights=weights)
    covariance = np.average((rows - center_r) * (columns - center_c), weights=weights)
    slope = covariance / variance if variance > 1e-9 else 0.0
    middle = (np.array(image.shape) - 1) / 2
    target_r, target_c = middle if center else (center_r, center_c)
    # Output (r, c) reads (r, c) − target, sheared, + centre of mass. Grid-constant: zeros interpolate with the border.
    return ndimage.affine_transform(
        image.astype(float),
        [[1, 0], [slope, 1]],
        offset=[center_r - target_r, center_c - target_c - slope * target_r],
        order=1,
        mode="grid-constant",
    )


def smooth(image, sigma):
    return ndimage.gaussian_filter(image.astype(float), sigma, mode="constant", truncate=4.0)


def sobel(image):
    """Derivatives along columns and along rows."""
    image = image.astype(float)
    return np.array([ndimage.sobel(image, axis, mode="constant") for axis in (1, 0)])


def sobel_levels(image, factor, limit):
    return np.rint(np.clip(factor * sobel(image), -limit, limit)).astype(np.int8)


def gradient_orientation(image, blur, smoothing, centers_r, centers_c):
    """Square roots of the sampled planes, (grid rows, grid columns, 8); directions by angle."""
    x, y = sobel(smooth(image, blur) if blur else image)
    angle = np.arctan2(y, x) % (2 * np.pi)
    magnitude = np.hypot(x, y)
    sector = np.floor(angle / (np.pi / 4)).astype(int) % 8
    beyond = angle - sector * (np.pi / 4)
    # magnitude · e(angle) = first · e(sector) + second · e(sector + 45°)
    first = magnitude * np.sin(np.pi / 4 - beyond) / np.sin(np.pi / 4)
    second = magnitude * np.sin(beyond) / np.sin(np.pi / 4)
    planes = np.zeros((8, *image.shape))
    for k in range(8):
        planes[k] += np.where(sector == k, first, 0) + np.where((sector + 1) % 8 == k, second, 0)
        if smoothing:
            planes[k] = smooth(planes[k], smoothing)
    return np.sqrt(np.maximum(planes[:, centers_r][:, :, centers_c].transpose(1, 2, 0), 0))
