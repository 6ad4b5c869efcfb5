"""Reference implementation of `somknn_kernels.images.digit_centering`, with least squares by `numpy.linalg`."""

import numpy as np

TRIM, NOISE_DEVIATIONS = 0.002, 3.0


def paper(image):
    """The image without its paper, and the noise of the paper."""
    border = np.zeros(image.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    residual = image - np.median(image[border])
    if np.median(np.abs(residual[border])) == 0:
        return residual, 0.0
    places = np.indices(image.shape).reshape(2, -1).T - (np.array(image.shape) - 1) / 2
    plane = np.column_stack([np.ones(image.size), places])
    near = border.ravel() & (np.abs(residual).ravel() <= np.abs(residual).max() / 2)
    if not near.any():
        return residual, 0.0
    if np.linalg.matrix_rank(plane[near]) == 3:
        solution = np.linalg.lstsq(plane[near], residual.ravel()[near])[0]
    else:  # a border of about one row: no slopes
        solution = [residual.ravel()[near].mean(), 0, 0]
    residual = residual - (plane @ solution).reshape(image.shape)
    return residual, max(NOISE_DEVIATIONS * 1.4826 * np.median(np.abs(residual[border])), 1e-9)


def otsu(greys):
    """The highest grey level of the darker class."""
    best, threshold = -1.0, 0
    for g in range(255):
        below, above = greys[greys <= g], greys[greys > g]
        if len(below) and len(above):
            variance = len(below) * len(above) * (below.mean() - above.mean()) ** 2
            if variance > best * (1 + 1e-12):
                best, threshold = variance, g
    return threshold


def trimmed_range(counts):
    """First and last position that remain when a share of TRIM is cut off at either end."""
    allowed = TRIM * counts.sum()
    return np.argmax(counts.cumsum() > allowed), len(counts) - 1 - np.argmax(counts[::-1].cumsum() > allowed)


def resample(line, center, out_size, scale):
    """Triangle filter along the first axis, centre to centre; at least one input pixel wide."""
    sharp = min(scale, 1.0)
    out = np.zeros((out_size, *line.shape[1:]))
    for o in range(out_size):
        place = center + (o - out_size // 2) / scale
        weights = np.maximum(0, 1 - np.abs(np.arange(len(line)) - place) * sharp) * sharp
        out[o] = np.tensordot(weights, line, axes=1)
    return out


def center_digit(image, polarity, box, size):
    """Ink from 0 to 1, (size, size) float64; polarity: 0 automatic, 1 bright, -1 dark ink."""
    image = image.astype(float)
    largest = np.abs(image).max()
    residual, noise = paper(image / largest if largest > 1e-300 else np.zeros(image.shape))
    sign = polarity or (-1 if ((residual / (np.abs(residual).max() or 1)) ** 3).sum() < 0 else 1)
    ink = np.maximum(sign * residual - noise, 0)
    if not ink.any():
        return np.zeros((size, size))
    greys = np.floor(ink / ink.max() * 255 + 0.5).astype(int)
    strokes = greys > otsu(greys.ravel())
    if not strokes.any():
        return np.zeros((size, size))
    ink = np.minimum(ink / ink[strokes].mean(), 1)
    (top, bottom), (left, right) = trimmed_range(strokes.sum(axis=1)), trimmed_range(strokes.sum(axis=0))
    side = max(bottom - top, right - left) + 1
    margin = max(1, side // 10)
    kept = np.zeros_like(ink)
    frame = np.s_[max(top - margin, 0) : bottom + margin + 1, max(left - margin, 0) : right + margin + 1]
    kept[frame] = ink[frame]
    center_r, center_c = (np.average(place, weights=kept) for place in np.indices(ink.shape))
    down = resample(kept, center_r, size, box / side)
    return np.minimum(resample(down.T, center_c, size, box / side).T, 1)
