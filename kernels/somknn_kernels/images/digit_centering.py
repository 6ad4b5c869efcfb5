"""A digit on paper of any size, brightness and shade, laid out as MNIST lays out its digits.

Four steps for each image. All measurements are float64, in a fixed order, with the largest absolute pixel as the unit.

1. Paper: the median of the border pixels. If more than half of them differ from it, this is a photograph and not a
   drawing. Then a plane fitted to the border is the paper, so that light from one side does no harm. Three robust
   deviations of the border from it count as noise.
2. Ink: what differs from the paper by more than the noise, in the direction (darker or brighter) of the larger third
   moment. Otsu's threshold parts strokes from the rest. The mean of the strokes becomes the brightest grey.
3. Frame: the rows and columns that hold the strokes, but for a share of TRIM at each end, so that specks are ignored.
   Pixels further away than a tenth of the longer side are paper.
4. Scale: the longer side gets `box` pixels, and the ink's centre of mass goes to pixel (rows // 2, columns // 2) of the
   output: 14 of 0 … 27, where MNIST has it. A triangle filter, at least as wide as an output pixel, weighs rows and
   columns.

MNIST's own layout: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, section III.A. Threshold: N. Otsu, IEEE Trans. SMC 9(1), 1979.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel

AUTO, BRIGHT, DARK = 0, 1, -1
TRIM = 0.002
NOISE_DEVIATIONS = 3.0
ROUNDING = 1e-9  # differences from a fitted plane that are rounding, not noise
SMALLEST = 1e-300
_GREYS = 256


@inlined
def median(values, n):
    """Median of the first n values, which it sorts."""
    values[:n].sort()
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@inlined
def take_image(image, pixels):
    """pixels = image / its largest absolute pixel, or zeros where that is too small to divide by."""
    rows, columns = image.shape
    largest = 0.0
    for r in range(rows):
        for c in range(columns):
            largest = max(largest, abs(np.float64(image[r, c])))
    for r in range(rows):
        for c in range(columns):
            pixels[r, c] = np.float64(image[r, c]) / largest if largest > SMALLEST else 0.0


@inlined
def take_border(pixels, ring):
    """Copy the border pixels into `ring`; returns their number."""
    rows, columns = pixels.shape
    n = 0
    for r in range(rows):
        step = 1 if r == 0 or r == rows - 1 else max(columns - 1, 1)
        for c in range(0, columns, step):
            ring[n] = pixels[r, c]
            n += 1
    return n


@inlined
def subtract_paper(residual, ring):
    """Subtract the paper from the pixels `residual`; returns the noise about it. `ring` : scratch for border pixels."""
    rows, columns = residual.shape
    n = take_border(residual, ring)
    paper = median(ring, n)
    spread = 0.0
    for r in range(rows):
        for c in range(columns):
            residual[r, c] -= paper
            spread = max(spread, abs(residual[r, c]))
    for i in range(n):
        ring[i] = abs(ring[i] - paper)
    if median(ring, n) == 0.0:
        return 0.0
    # A plane by least squares, from the border pixels that differ from the median by at most half of the largest
    # difference. The others are strokes that touch the border.
    middle_r = 0.5 * (rows - 1)
    middle_c = 0.5 * (columns - 1)
    sums = np.zeros((3, 4))
    for r in range(rows):
        step = 1 if r == 0 or r == rows - 1 else max(columns - 1, 1)
        for c in range(0, columns, step):
            if abs(residual[r, c]) <= 0.5 * spread:
                line = (1.0, r - middle_r, c - middle_c, residual[r, c])
                for i in range(3):
                    for j in range(4):
                        sums[i, j] += line[i] * line[j]
    if sums[0, 0] == 0.0:
        return 0.0
    level, down, across = solve_plane(sums)
    for r in range(rows):
        for c in range(columns):
            residual[r, c] -= level + down * (r - middle_r) + across * (c - middle_c)
    take_border(residual, ring)
    for i in range(n):
        ring[i] = abs(ring[i])
    return max(NOISE_DEVIATIONS * 1.4826 * median(ring, n), ROUNDING)


@inlined
def solve_plane(sums):
    """(level, slope down, slope across) from the normal equations `sums` : float64 (3, 4).

    Slopes are 0 where the border does not determine them.
    """
    count = sums[0, 0]
    mean = sums[0, 3] / count
    rr = sums[1, 1] - sums[0, 1] * sums[0, 1] / count
    rc = sums[1, 2] - sums[0, 1] * sums[0, 2] / count
    cc = sums[2, 2] - sums[0, 2] * sums[0, 2] / count
    rv = sums[1, 3] - sums[0, 1] * mean
    cv = sums[2, 3] - sums[0, 2] * mean
    determinant = rr * cc - rc * rc
    if determinant <= 1e-9 * rr * cc or determinant <= 0.0:
        return mean, 0.0, 0.0
    down = (cc * rv - rc * cv) / determinant
    across = (rr * cv - rc * rv) / determinant
    return mean - (down * sums[0, 1] + across * sums[0, 2]) / count, down, across


@inlined
def otsu(histogram):
    """The last grey of the darker class, by the largest variance between the two classes; the lowest of equals."""
    total = 0.0
    weighted = 0.0
    for g in range(histogram.size):
        total += histogram[g]
        weighted += g * histogram[g]
    best = -1.0
    threshold = 0
    below = 0.0
    below_weighted = 0.0
    for g in range(histogram.size - 1):
        below += histogram[g]
        below_weighted += g * histogram[g]
        above = total - below
        if below > 0.0 and above > 0.0:
            difference = below_weighted / below - (weighted - below_weighted) / above
            variance = below * above * difference * difference
            if variance > best:
                best = variance
                threshold = g
    return threshold


@inlined
def trimmed_range(counts):
    """The first and the last place that hold all of the counts but for a share of TRIM at each end."""
    total = 0.0
    for i in range(counts.size):
        total += counts[i]
    first = 0
    passed = counts[0]
    while passed <= TRIM * total:
        first += 1
        passed += counts[first]
    last = counts.size - 1
    passed = counts[last]
    while passed <= TRIM * total:
        last -= 1
        passed += counts[last]
    return first, last


@inlined
def grey(share):
    """0 … 255 for 0 … 1. The result is in that range for NaN too, which a caller may have left unchecked."""
    return min(max(int(share * (_GREYS - 1) + 0.5), 0), _GREYS - 1)


@inlined
def find_ink(polarity, noise, ink):
    """Turn the residuals in `ink` into ink: 0 for paper, 1 for strokes.

    Returns the frame: its first and last row, first and last column; −1s where there is no ink.
    """
    rows, columns = ink.shape
    skewness = np.float64(polarity)
    if polarity == AUTO:
        largest = 0.0
        for r in range(rows):
            for c in range(columns):
                largest = max(largest, abs(ink[r, c]))
        if largest > 0.0:  # as shares of it: cubes of small numbers would become 0
            for r in range(rows):
                for c in range(columns):
                    share = ink[r, c] / largest
                    skewness += share * share * share
    sign = -1.0 if skewness < 0.0 else 1.0
    largest = 0.0
    for r in range(rows):
        for c in range(columns):
            ink[r, c] = max(sign * ink[r, c] - noise, 0.0)
            largest = max(largest, ink[r, c])
    if largest <= 0.0:
        return -1, -1, -1, -1
    histogram = np.zeros(_GREYS)
    for r in range(rows):
        for c in range(columns):
            histogram[grey(ink[r, c] / largest)] += 1.0
    threshold = otsu(histogram)
    down = np.zeros(rows)
    across = np.zeros(columns)
    strokes = 0.0
    mass = 0.0
    for r in range(rows):
        for c in range(columns):
            if grey(ink[r, c] / largest) > threshold:
                down[r] += 1.0
                across[c] += 1.0
                strokes += 1.0
                mass += ink[r, c] / largest
    if strokes == 0.0:
        return -1, -1, -1, -1
    full = mass / strokes * largest
    for r in range(rows):
        for c in range(columns):
            ink[r, c] = min(ink[r, c] / full, 1.0)
    first_row, last_row = trimmed_range(down)
    first_column, last_column = trimmed_range(across)
    return first_row, last_row, first_column, last_column


@inlined
def triangle_weights(center, out_center, scale, weights):
    """weights[o, i] = share of input i in output o, for the map i = center + (o − out_center) / scale.

    weights : float32 (outputs, inputs); each line sums to about 1.
    """
    sharp = min(scale, 1.0)
    for o in range(weights.shape[0]):
        place = center + (o - out_center) / scale
        for i in range(weights.shape[1]):
            weights[o, i] = np.float32(max(0.0, 1.0 - abs(i - place) * sharp) * sharp)


@kernel
def center_digit(images, polarity, box, out):
    """Every image's digit, cropped, scaled to `box` pixels and centred by mass. The module tells the steps.

    images : (n, rows, columns), uint8, float32 or float64, finite
    polarity : AUTO, BRIGHT (ink is brighter than paper) or DARK
    box : pixels that the longer side of the digit gets
    out : (n, out rows, out columns), uint8, 255 for full ink (halves round up); zeros for an image without ink

    Agrees with its twin to 0.03 of a grey level before rounding (float32 sums). Cost: about 60 operations a pixel, and
    two multiply-adds for each pixel and output row whose filter covers it.
    """
    n, rows, columns = images.shape
    out_rows = out.shape[1]
    out_columns = out.shape[2]
    half = np.float32(0.5)
    brightest = np.float32(255.0)
    ring = np.empty(2 * (rows + columns))
    ink = np.empty((rows, columns))
    down = np.empty((out_rows, rows), np.float32)
    across = np.empty((out_columns, columns), np.float32)
    middle = np.empty(columns, np.float32)
    for i in range(n):
        for r in range(out_rows):
            for c in range(out_columns):
                out[i, r, c] = 0
        take_image(images[i], ink)
        noise = subtract_paper(ink, ring)
        first_row, last_row, first_column, last_column = find_ink(polarity, noise, ink)
        if first_row < 0:
            continue
        side = max(last_row - first_row, last_column - first_column) + 1
        margin = max(1, side // 10)
        first_row = max(first_row - margin, 0)
        last_row = min(last_row + margin, rows - 1)
        first_column = max(first_column - margin, 0)
        last_column = min(last_column + margin, columns - 1)
        mass = 0.0
        center_row = 0.0
        center_column = 0.0
        for r in range(first_row, last_row + 1):
            for c in range(first_column, last_column + 1):
                mass += ink[r, c]
                center_row += r * ink[r, c]
                center_column += c * ink[r, c]
        scale = box / side
        triangle_weights(center_row / mass, out_rows // 2, scale, down)
        triangle_weights(center_column / mass, out_columns // 2, scale, across)
        for r in range(out_rows):
            middle[:] = 0.0
            for s in range(first_row, last_row + 1):
                weight = down[r, s]
                if weight != 0.0:
                    for c in range(first_column, last_column + 1):
                        middle[c] += weight * np.float32(ink[s, c])
            for o in range(out_columns):
                value = np.float32(0.0)
                for c in range(first_column, last_column + 1):
                    value += across[o, c] * middle[c]
                # The filter's weights may sum to a little more than 1.
                out[i, r, o] = min(brightest * value, brightest) + half
