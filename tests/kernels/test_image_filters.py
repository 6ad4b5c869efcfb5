"""The image filters against SciPy's, on random and on awkward images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reference import image_filters as reference
from somknn.images import Blur, Deskew, GradientOrientation
from somknn_kernels.images import image_filters

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 17))
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape))


def transformed(transformer, image):
    return transformer.set_params(image_shape=image.shape).fit_transform(image.reshape(1, -1))[0]


@given(IMAGES, st.booleans())
def test_deskew_is_scipys_shear_to_within_a_grey_level(image, center):
    got = transformed(Deskew(center=center), image).reshape(image.shape)
    assert got.dtype == np.uint8
    assert np.abs(got - reference.deskew(image, center)).max() <= 1


@given(IMAGES, st.booleans())
def test_deskewed_floats_are_scipys_shear(image, center):
    got = transformed(Deskew(center=center), image.astype(np.float32)).reshape(image.shape)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reference.deskew(image, center), atol=2e-3)


@given(IMAGES, st.sampled_from([0.3, 0.7, 1.5, 4.0]))
def test_blur_is_scipys_gaussian(image, sigma):
    want = reference.smooth(image, sigma)
    assert np.abs(transformed(Blur(sigma), image).reshape(image.shape) - want).max() <= 0.51
    floats = transformed(Blur(sigma), image.astype(float)).reshape(image.shape)
    np.testing.assert_allclose(floats, want, atol=1e-3)


def test_blur_of_zero_changes_nothing():
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert (transformed(Blur(0), image) == image.ravel()).all()


@given(IMAGES, st.integers(1, 4))
def test_gradient_planes_are_those_of_angles(image, step):
    transformer = GradientOrientation(blur=0.7, smoothing=1.5, step=step)
    got = transformed(transformer, image.astype(np.float32))
    centers = [transformer._centers(side) for side in image.shape]
    want = reference.gradient_orientation(image, 0.7, 1.5, *centers)
    # Compared before the square root, which amplifies rounding near zero without bound.
    np.testing.assert_allclose(got**2, want.ravel() ** 2, atol=2e-2)
    quantised = transformed(transformer, image)
    assert quantised.dtype == np.uint8
    assert np.abs(quantised - np.minimum(12 * got, 255)).max() <= 0.51


@pytest.mark.parametrize(("dx", "dy", "direction"), [(1, 0, 0), (1, 1, 1), (0, 1, 2), (-1, 0, 4), (-1, -1, 5)])
def test_a_ramp_lies_in_the_plane_of_its_direction(dx, dy, direction):
    rows, columns = np.indices((15, 15), dtype=float)
    features = transformed(
        GradientOrientation(blur=0.7, smoothing=1.5, step=3), 100 + dx * columns + dy * rows
    ).reshape(5, 5, 8)
    assert features[2, 2].argmax() == direction


@given(IMAGES)
def test_sobel_levels_are_scipys_sobel_rounded(image):
    out = np.empty((1, 2, *image.shape), np.int8)
    image_filters.sobel_levels(image[None], 0.03125, 30.0, out)
    assert (out[0] == reference.sobel_levels(image, 0.03125, 30)).all()
