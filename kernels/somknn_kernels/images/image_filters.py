"""Filters of small grey images: deskewing, separable smoothing, Sobel gradients, planes of gradient direction.

Every kernel works on a block of images (n, rows, columns), with zeros beyond the border, and fills `out`. Several
threads call it, each for blocks of its own. Pixels are float32, moments float64, in a fixed order of operations. So the
result for an image depends on nothing but that image.

The inner loops run along an image row and have no sum across their steps: the form that LLVM vectorises under strict
IEEE rules.
"""

import math

import numpy as np

from somknn_kernels.policy import inlined, kernel

DIRECTIONS = 8
"""Planes of gradient direction: 0°, 45°, … 315°, from the direction of growing columns towards that of growing rows."""


@inlined
def shear_moments(image):
    """Mass, centre row, centre column, Σ w·(r − centre row)², Σ w·(r − centre row)·(c − centre column).

    w is the positive part of pixel (r, c). All zeros where there is none.
    """
    rows, columns = image.shape
    mass = 0.0
    sum_r = 0.0
    sum_c = 0.0
    sum_rr = 0.0
    sum_rc = 0.0
    for r in range(rows):
        row_mass = 0.0
        row_c = 0.0
        for c in range(columns):
            weight = max(np.float64(image[r, c]), 0.0)
            row_mass += weight
            row_c += weight * c
        mass += row_mass
        sum_r += row_mass * r
        sum_c += row_c
        sum_rr += row_mass * r * r
        sum_rc += row_c * r
    if mass <= 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    center = sum_r / mass
    return mass, center, sum_c / mass, sum_rr - sum_r * center, sum_rc - sum_c * center


@kernel
def deskew(images, center_mass, rounding, out):
    """Shear every image about its centre of mass until rows and columns are uncorrelated.

    Output pixel (r, c) is the input at column c + (r − centre row) · covariance / row variance of the same row,
    linearly interpolated. An image without mass, or with all of it in one row, is copied.

    images : (n, rows, columns), uint8, float32 or float64; only positive pixels count in the moments
    center_mass : bool, whether the centre of mass also moves to the middle of the image (bilinear interpolation)
    rounding : 0.5 for uint8 (halves round up), 0 for floats; added to every stored value
    out : (n, rows, columns), uint8 or float32

    Moments are float64, pixels float32. Normalisation by second moments: R. G. Casey, "Moment normalization of
    handprinted characters", IBM J. Res. Dev. 1970. Cost: about 10 operations and 2 bytes (uint8) a pixel.
    """
    n, rows, columns = images.shape
    rounding = np.float32(rounding)
    line = np.zeros(columns + 2, np.float32)
    for i in range(n):
        mass, center, center_column, variance, covariance = shear_moments(images[i])
        slope = 0.0
        if variance > 1e-9 * mass:
            slope = covariance / variance
        down = 0.0
        across = 0.0
        if center_mass and mass > 0.0:
            down = center - 0.5 * (rows - 1)
            across = center_column - 0.5 * (columns - 1)
        upper = math.floor(down)
        lower_part = np.float32(down - upper)
        upper_part = np.float32(1.0) - lower_part
        for r in range(rows):
            source = r + upper
            for c in range(columns):
                line[c + 1] = 0.0
            if 0 <= source < rows:
                for c in range(columns):
                    line[c + 1] = upper_part * np.float32(images[i, source, c])
            if lower_part > 0.0 and 0 <= source + 1 < rows:
                for c in range(columns):
                    line[c + 1] += lower_part * np.float32(images[i, source + 1, c])
            # A shift by more than the image is wide leaves nothing. The bounds also keep floor() in range.
            shift = min(max(across + slope * (r + down - center), -2.0 - columns), 2.0 + columns)
            whole = math.floor(shift)
            fraction = np.float32(shift - whole)
            rest = np.float32(1.0) - fraction
            first = min(max(0, -whole - 1), columns)
            last = max(min(columns, columns - whole), first)
            for c in range(first):
                out[i, r, c] = 0
            for c in range(first, last):
                value = line[c + 1 + whole] * rest + line[c + 2 + whole] * fraction
                out[i, r, c] = value + rounding
            for c in range(last, columns):
                out[i, r, c] = 0


@inlined
def smooth_rows_and_columns(image, down, across, middle, out):
    """out = down @ image @ across.T for two band matrices; middle : scratch (rows of down, columns of image)."""
    for r in range(down.shape[0]):
        for c in range(middle.shape[1]):
            middle[r, c] = 0.0
        for s in range(down.shape[1]):
            weight = down[r, s]
            if weight != 0.0:
                for c in range(middle.shape[1]):
                    middle[r, c] += weight * image[s, c]
    for r in range(down.shape[0]):
        for c in range(across.shape[0]):
            out[r, c] = 0.0
        for s in range(across.shape[1]):
            value = middle[r, s]
            if value != 0.0:
                for c in range(across.shape[0]):
                    out[r, c] += value * across[c, s]


@kernel
def smooth(images, down, across, rounding, out):
    """Separable linear filter: out[i] = down @ images[i] @ across.T, summed in ascending order of the inputs.

    images : (n, rows, columns), uint8, float32 or float64
    down : (out rows, rows) float32; across : (out columns, columns) float32, band matrices (zeros are skipped)
    rounding : 0.5 for uint8 (halves round up), 0 for floats
    out : (n, out rows, out columns), uint8 (the caller's weights are ≥ 0 and sum to ≤ 1) or float32

    Cost: two multiply-adds per pixel and non-zero weight.
    """
    n, rows, columns = images.shape
    rounding = np.float32(rounding)
    image = np.empty((rows, columns), np.float32)
    middle = np.empty((down.shape[0], columns), np.float32)
    result = np.empty((down.shape[0], across.shape[0]), np.float32)
    for i in range(n):
        for r in range(rows):
            for c in range(columns):
                image[r, c] = images[i, r, c]
        smooth_rows_and_columns(image, down, across, middle, result)
        for r in range(down.shape[0]):
            for c in range(across.shape[0]):
                out[i, r, c] = result[r, c] + rounding


@inlined
def sobel(padded, r, c):
    """Sobel gradient (along columns, along rows) at pixel (r, c) of an image with a border of one zero."""
    a = padded[r, c]
    b = padded[r, c + 1]
    d = padded[r, c + 2]
    e = padded[r + 1, c]
    f = padded[r + 1, c + 2]
    g = padded[r + 2, c]
    h = padded[r + 2, c + 1]
    i = padded[r + 2, c + 2]
    two = np.float32(2.0)
    return (d + two * f + i) - (a + two * e + g), (g + two * h + i) - (a + two * b + d)


@kernel
def gradient_orientation(images, blur_down, blur_across, down, across, gain, rounding, out):
    """Planes of gradient direction, smoothed and sampled on a grid: square roots of gradient mass.

    Each image is blurred. Its Sobel gradient is split into the two nearest of 8 directions (parallelogram rule: the two
    parts add up to the vector). Every plane is smoothed and sampled. The square root then evens out stroke contrast.

    images : (n, rows, columns), uint8, float32 or float64
    blur_down : (rows, rows), blur_across : (columns, columns) float32: the blur before the gradient
    down : (grid rows, rows), across : (grid columns, columns) float32: smoothing and sampling of the planes
    gain : factor of the square root in `out`; rounding : 0.5 for uint8, 0 for floats; uint8 is at most 255
    out : (n, grid rows, grid columns, 8), uint8 or float32

    All arithmetic is float32. C.-L. Liu, K. Nakashima, H. Sako, H. Fujisawa, "Handwritten digit recognition:
    benchmarking of state-of-the-art techniques", Pattern Recognition 2003, section 3.3.
    Cost at 28×28, grid 9×9: about 40,000 multiply-adds an image.
    """
    n, rows, columns = images.shape
    grid_rows = down.shape[0]
    grid_columns = across.shape[0]
    gain = np.float32(gain)
    rounding = np.float32(rounding)
    root2 = np.float32(math.sqrt(2.0))
    image = np.empty((rows, columns), np.float32)
    middle = np.empty((rows, columns), np.float32)
    blurred = np.empty((rows, columns), np.float32)
    padded = np.zeros((rows + 2, columns + 2), np.float32)
    # The directions lie innermost: a pixel's eight planes are one AVX register.
    planes = np.empty((rows, columns * DIRECTIONS), np.float32)
    sampled = np.empty(columns * DIRECTIONS, np.float32)
    sums = np.empty(DIRECTIONS, np.float32)
    for i in range(n):
        for r in range(rows):
            for c in range(columns):
                image[r, c] = images[i, r, c]
        smooth_rows_and_columns(image, blur_down, blur_across, middle, blurred)
        for r in range(rows):
            for c in range(columns):
                padded[r + 1, c + 1] = blurred[r, c]
        planes[:] = 0.0
        for r in range(rows):
            for c in range(columns):
                x, y = sobel(padded, r, c)
                ax = abs(x)
                ay = abs(y)
                if ax == 0.0 and ay == 0.0:
                    continue
                # The nearest axis gets |longer| − |shorter|, the nearest diagonal √2·|shorter|.
                if y >= 0.0:
                    diagonal = 1 if x >= 0.0 else 3
                else:
                    diagonal = 7 if x >= 0.0 else 5
                if ax >= ay:
                    axis = 0 if x >= 0.0 else 4
                    along = ax - ay
                    slanted = root2 * ay
                else:
                    axis = 2 if y >= 0.0 else 6
                    along = ay - ax
                    slanted = root2 * ax
                planes[r, c * DIRECTIONS + axis] = along
                planes[r, c * DIRECTIONS + diagonal] = slanted
        for r in range(grid_rows):
            sampled[:] = 0.0
            for s in range(rows):
                weight = down[r, s]
                if weight != 0.0:
                    for c in range(columns * DIRECTIONS):
                        sampled[c] += weight * planes[s, c]
            for c in range(grid_columns):
                sums[:] = 0.0
                for s in range(columns):
                    weight = across[c, s]
                    if weight != 0.0:
                        for direction in range(DIRECTIONS):
                            sums[direction] += weight * sampled[s * DIRECTIONS + direction]
                for direction in range(DIRECTIONS):
                    value = gain * np.float32(math.sqrt(sums[direction])) + rounding
                    if rounding > 0.0:
                        value = min(value, np.float32(255.0))
                    out[i, r, c, direction] = value


@kernel
def sobel_levels(images, factor, limit, out):
    """Sobel gradients as small integers, for deformation matching: round(factor · gradient), at most ±limit.

    images : (n, rows, columns), uint8, float32 or float64; factor, limit : numbers, limit at most 127
    out : (n, 2, rows, columns) int8: the derivative along columns, then along rows

    Computed in float32; halves round to even. Cost: about 20 operations a pixel.
    """
    n, rows, columns = images.shape
    padded = np.zeros((rows + 2, columns + 2), np.float32)
    factor = np.float32(factor)
    limit = np.float32(limit)
    for i in range(n):
        for r in range(rows):
            for c in range(columns):
                padded[r + 1, c + 1] = images[i, r, c]
        for r in range(rows):
            for c in range(columns):
                x, y = sobel(padded, r, c)
                out[i, 0, r, c] = np.int8(np.rint(min(max(factor * x, -limit), limit)))
                out[i, 1, r, c] = np.int8(np.rint(min(max(factor * y, -limit), limit)))
