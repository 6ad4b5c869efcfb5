"""960-wide descriptors of photographs, as GIST has them.

A. Oliva, A. Torralba, "Modeling the shape of the scene", International Journal of Computer Vision 42(3), 2001: the mean
response of 20 Gabor filters (8, 8 and 4 orientations of three scales) in a grid of 4 × 4 blocks, in three colours. Here
the patches lie at random places of nine photographs that scikit-image and scikit-learn carry, so patches overlap, and a
photograph is filtered once, as a whole and without the whitening that came first. Means of blocks are sums of integral
images.
"""

import numpy as np

from somknn_zoo.sources import Missing

_ORIENTATIONS = (8, 8, 4)
_BUNDLED = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "immunohistochemistry", "retina")
_LONGEST = 640  # pixels of a side
_PATCH = (48, 160)  # pixels of a side
_GRID = 4


def _photographs():
    try:
        from skimage import data
    except ImportError:
        raise Missing("not installed: scikit-image") from None
    from sklearn.datasets import load_sample_images

    found = [getattr(data, name)()[..., :3] for name in _BUNDLED] + list(load_sample_images().images)
    return [image[:: (step := -(-max(image.shape[:2]) // _LONGEST)), ::step] for image in found]


def _filters(height, width):
    """One-sided Gabor filters in the plane of frequencies, float32 (20, height, width)."""
    down, across = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    radius, angle = np.hypot(down, across), np.arctan2(down, across)
    found = []
    for scale, orientations in enumerate(_ORIENTATIONS):
        centre = 0.3 / 1.85**scale
        for turn in range(orientations):
            off = np.angle(np.exp(1j * (angle - np.pi * turn / orientations)))
            found.append(
                np.exp(-10 * 0.35 * (radius / centre - 1) ** 2 - 2 * np.pi * (16 * orientations**2 / 32**2) * off**2)
            )
    return np.array(found, np.float32)


def _integrals(image):
    """Sums of the filters' responses over all rectangles from the corner, (60, height + 1, width + 1)."""
    from scipy import fft

    filters, found = _filters(*image.shape[:2]), []
    for colour in range(3):
        spectrum = fft.fft2(image[..., colour].astype(np.float32) / 255)
        for each in filters:
            response = np.abs(fft.ifft2(spectrum * each))
            found.append(np.pad(response.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0))))
    return np.array(found)


def _described(sums, count, random):
    """Descriptors of `count` patches at random places, (count, 960)."""
    height, width = np.array(sums.shape[1:]) - 1
    side = random.integers(_PATCH[0] // _GRID, _PATCH[1] // _GRID + 1, count)
    top, left = (np.floor(random.random(count) * (length - _GRID * side + 1)).astype(int) for length in (height, width))
    steps = np.arange(_GRID + 1)
    at = sums[:, (top[:, None] + steps * side[:, None])[:, :, None], (left[:, None] + steps * side[:, None])[:, None]]
    blocks = at[..., 1:, 1:] - at[..., :-1, 1:] - at[..., 1:, :-1] + at[..., :-1, :-1]  # (60, count, 4, 4)
    means = blocks / (side**2)[None, :, None, None]
    return np.ascontiguousarray(means.transpose(1, 0, 2, 3).reshape(count, -1), np.float32)


def descriptors(n, m):
    """At most n rows and m queries, float32."""
    random, parts = np.random.default_rng(0), []
    photographs = _photographs()
    each = -(-(n + m) // len(photographs))
    for image in photographs:
        parts.append(_described(_integrals(image), each, random))
    found = np.concatenate(parts)[random.permutation(each * len(photographs))]
    return found[m : m + n], found[:m]
