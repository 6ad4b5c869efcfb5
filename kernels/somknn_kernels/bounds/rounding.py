"""What keeps a bound true in spite of rounding and of NaN."""

import numpy as np

from somknn_kernels.policy import inlined

CERTAIN = 1.0 + 1e-9  # covers the rounding of the few float64 operations of a bound


@inlined
def codes_within(radius):
    """A number above all squared distances of integer codes within `radius`, in steps of the codes. NaN for NaN."""
    return radius * radius * CERTAIN + 1.0


@inlined
def distance_within(squared, d):
    """The largest exact distance of a row of d columns whose squared distance in float64 is at most `squared`.

    2^-50·d covers the rounding of every square and sum. 1e-300 covers squares below the smallest float64.
    """
    return np.sqrt(np.float64(squared) * (1.0 + d * 2.0**-50) + 1e-300) * (1.0 + 2.0**-50)


@inlined
def floor_int32(bound):
    """⌊bound⌋ as int32, clipped to its range. NaN gives the least number: a threshold that rules nothing out."""
    if not bound > -2147483647.0:
        return np.int32(-2147483647)
    return np.int32(min(np.floor(bound), 2147483647.0))
