"""The rest: the norm of what the axes leave out of a row, which Cauchy-Schwarz needs on both sides.

With Π the orthogonal projection on the axes and ρ(x) = ‖x - Πx‖,

    ‖x‖² = ‖Πx‖² + ρ(x)² ,      x·w <= Πx·Πw + ρ(x)·ρ(w) ,      ‖q - t‖² >= ‖Πq - Πt‖² + (ρ(q) - ρ(t))² .

A rest in a product must not be too small. A rest in a distance comes with an error.
"""

import numpy as np

from somknn_kernels.policy import inlined


@inlined
def rest_code(square, inside, allowance, unit):
    """ρ in multiples of `unit`, rounded up, int16.

    square, inside : the squared norms of the row and of its projection
    allowance : by how much their difference may be too small
    """
    return np.int16(min(np.ceil(np.sqrt(max(square - inside, 0.0) + allowance) / unit), 32767.0))


@inlined
def rest_with_error(square, projected, middle, spread):
    """(ρ, bound on its error) for axes that are not quite orthonormal.

    projected : the squared norm of the products with the axes; that of Πx lies within projected·(middle ± spread)
    """
    rest = np.sqrt(max(square - projected * middle, 0.0))
    uncertain = projected * spread + 1e-12 * square
    error = np.sqrt(uncertain)
    if rest > 0.0:
        error = min(error, uncertain / rest)
    return rest, error
