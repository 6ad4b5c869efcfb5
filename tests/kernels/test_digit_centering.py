"""The digit-centring kernel against its reference: sizes, dtypes, polarities, uneven light, noise, awkward images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import digit_centering as reference
from somknn_kernels.images import digit_centering

POLARITIES = (digit_centering.AUTO, digit_centering.BRIGHT, digit_centering.DARK)


def centered(images, polarity=0, box=20, size=28):
    out = np.full((len(images), size, size), 77, np.uint8)
    digit_centering.center_digit(images, polarity, box, out)
    return out


def drawing(rng, shape):
    """A few thick strokes on black, float64 from 0 to 1."""
    rows, columns = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(rng.integers(1, 4)):
        (r0, r1), (c0, c1) = rng.uniform(0, shape[0], 2), rng.uniform(0, shape[1], 2)
        along = np.clip(
            ((rows - r0) * (r1 - r0) + (columns - c0) * (c1 - c0)) / ((r1 - r0) ** 2 + (c1 - c0) ** 2), 0, 1
        )
        distance = np.hypot(rows - r0 - along * (r1 - r0), columns - c0 - along * (c1 - c0))
        image = np.maximum(image, np.clip(rng.uniform(1, 3) - distance, 0, 1))
    return image


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    polarity=st.sampled_from(POLARITIES),
    box=st.integers(1, 24),
    size=st.integers(1, 30),
    light=st.sampled_from([0.0, 0.4]),
    noise=st.sampled_from([0.0, 0.02]),
    dark=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_twin(seed, shape, polarity, box, size, light, noise, dark, dtype):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    images = np.array([drawing(rng, shape) for _ in range(3)])
    images = 0.9 - 0.6 * images if dark else 0.1 + 0.6 * images
    images += light * (columns / shape[1] - 0.5) * (rows / shape[0]) + noise * rng.standard_normal(images.shape)
    images = (255 * np.clip(images, 0, 1)).astype(np.uint8) if dtype == np.uint8 else images.astype(dtype)
    got = centered(images, polarity, box, size)
    want = [reference.center_digit(image, polarity, box, size) for image in images]
    assert np.abs(got - 255 * np.array(want)).max() <= 0.53


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (6, 9)])
def test_paper_alone_becomes_black(value, shape):
    assert (centered(np.full((1, *shape), value, np.uint8)) == 0).all()


def test_lit_paper_without_ink_becomes_black():
    rows, columns = np.indices((20, 30))
    assert (centered(np.array([100 + 0.3 * rows - 0.7 * columns])) == 0).all()


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1.7e308, -1.7e308])
def test_extreme_floats_stay_within_bounds(scale):
    image = drawing(np.random.default_rng(1), (15, 18)) * scale
    np.testing.assert_array_equal(
        centered(image[None]) > 0, np.abs(scale) > 1e-300 and centered(image[None] / scale) > 0
    )


def test_what_nobody_checked_stays_within_memory():
    images = np.random.default_rng(0).choice([np.nan, np.inf, -np.inf, 0.0, 1.0], (50, 9, 11))
    assert centered(images).shape == (50, 28, 28)


@pytest.mark.parametrize("shape", [(60, 30), (25, 90)])
def test_the_longer_side_fills_the_box_and_the_mass_is_in_the_middle(shape):
    image = np.zeros(shape, np.uint8)
    image[4:24, 5:15] = 200
    ink = centered(image[None])[0]
    places = [np.flatnonzero(ink.max(axis=axis) > 200) for axis in (1, 0)]
    assert [np.ptp(place) + 1 for place in places] == [
        19,
        9,
    ]  # even sides about a whole pixel: their ends are between two pixels
    assert [np.average(np.arange(28), weights=ink.sum(axis=axis)) for axis in (1, 0)] == pytest.approx(
        [14, 14], abs=0.01
    )


@pytest.mark.parametrize("polarity", POLARITIES)
def test_specks_far_from_the_digit_are_paper(polarity):
    image = np.full((80, 90), 230, np.uint8) if polarity < 0 else np.zeros((80, 90), np.uint8)
    image[20:60, 30:50] = 120
    alone = centered(image[None], polarity)
    image[2, 85] = 100
    # The speck counts in the mean of the strokes.
    np.testing.assert_allclose(centered(image[None], polarity).astype(int), alone.astype(int), atol=1)
