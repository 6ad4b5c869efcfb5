"""Images are read as they are seen: scaled by their depth, turned as the camera was held, with alpha on white."""

import io

import numpy as np
import pytest
from PIL import Image

from somknn.batch import BatchError, classify
from somknn.batch.sources import open_source
from somknn.datasets.image_files import grey_levels

LEVELS = np.random.default_rng(0).integers(0, 256, (3, 4), dtype=np.uint8)
DEEP = LEVELS.astype(np.uint16) * 257
# The stored picture that each EXIF orientation turns into LEVELS.
STORED = {
    1: LEVELS,
    2: LEVELS[:, ::-1],
    3: LEVELS[::-1, ::-1],
    4: LEVELS[::-1],
    5: LEVELS.T,
    6: np.rot90(LEVELS),
    7: np.rot90(LEVELS, 2).T,
    8: np.rot90(LEVELS, -1),
}


def saved(image, kind="PNG", **options):
    """The image as it is read from a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def read(file):
    with Image.open(file) as image:
        return grey_levels(image)


def rgba(levels, alpha):
    return np.dstack([*np.broadcast_arrays(levels, levels, levels, alpha)]).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("deep", [DEEP, DEEP & 0xFF00])
def test_sixteen_bits_are_scaled(kind, deep):
    np.testing.assert_array_equal(read(saved(deep, kind)), LEVELS)
    # As Pillow scales channels of 16 bits in colour images.
    assert read(saved(np.array([[0, 65535]], np.uint16), kind)).tolist() == [[0, 255]]


def test_a_dim_picture_of_sixteen_bits_stays_dim():
    assert read(saved(np.array([[255, 256, 5000]], np.uint16))).tolist() == [[0, 1, 19]]


def test_big_endian_and_inverted_tiff():
    image = Image.new("I;16B", (4, 3))
    image.frombytes(DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read(saved(image, "TIFF")), LEVELS)
    for levels in (LEVELS, DEEP):
        raw = saved(levels, "TIFF").getvalue()
        tag = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # PhotometricInterpretation: 1, black is zero, becomes 0
        assert raw.count(tag + b"\x01") == 1
        inverted = io.BytesIO(raw.replace(tag + b"\x01", tag + b"\x00"))
        np.testing.assert_array_equal(read(inverted), 255 - LEVELS)


@pytest.mark.parametrize("kind", ["F", "I"])
def test_pixels_without_a_known_white_are_refused(kind):
    with pytest.raises(ValueError, match="pixels of 32 bits, whose white is not known"):
        read(saved(Image.fromarray(LEVELS).convert(kind), "TIFF"))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "deep PNG", "deep TIFF"])
def test_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = STORED[orientation] * np.uint16(257) if "deep" in kind else STORED[orientation]
    np.testing.assert_array_equal(read(saved(stored, kind.split()[-1], exif=exif)), LEVELS)


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_a_photograph(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    smooth = np.add.outer(np.arange(16) * 9, np.arange(24) * 3).astype(np.uint8)
    turned = {1: smooth, 2: smooth[:, ::-1], 3: smooth[::-1, ::-1], 4: smooth[::-1], 5: smooth.T}
    turned |= {6: np.rot90(smooth), 7: np.rot90(smooth, 2).T, 8: np.rot90(smooth, -1)}
    levels = read(saved(turned[orientation], "JPEG", exif=exif, quality=95)).astype(int)
    assert levels.shape == (16, 24)
    assert abs(levels - smooth).max() < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_composed_on_white(kind):
    alpha = np.random.default_rng(1).integers(0, 256, (3, 4), dtype=np.uint8)
    expected = np.rint(LEVELS * (alpha / 255) + 255 * (1 - alpha / 255))
    np.testing.assert_array_equal(read(saved(rgba(LEVELS, alpha), kind)), expected)
    np.testing.assert_array_equal(read(saved(np.dstack([LEVELS, alpha]), kind)), expected)  # grey and alpha
    np.testing.assert_array_equal(read(saved(rgba(LEVELS, 255), kind)), LEVELS)
    assert (read(saved(rgba(LEVELS, 0), kind)) == 255).all()


def test_transparent_colours():
    """A palette or a colour of a PNG that is transparent."""
    expected = np.where(LEVELS[1, 2] == LEVELS, 255, LEVELS)
    key = int(LEVELS[1, 2])
    np.testing.assert_array_equal(read(saved(LEVELS, transparency=key)), expected)
    np.testing.assert_array_equal(read(saved(np.dstack([LEVELS] * 3), transparency=(key, key, key))), expected)
    palette = Image.fromarray(LEVELS).convert("P")
    table = bytes(0 if palette.getpixel((2, 1)) == i else 255 for i in range(256))
    np.testing.assert_array_equal(read(saved(palette, transparency=table)), expected)
    if Image.open(saved(DEEP)).mode == "I;16":  # newer Pillows write it
        np.testing.assert_array_equal(read(saved(DEEP, transparency=key * 257)), expected)


@pytest.mark.parametrize("colour", [0, 40, 255])
def test_ink_in_the_alpha_channel(colour):
    """A canvas on which one colour was drawn: what it looks like is in the alpha channel alone."""
    np.testing.assert_array_equal(read(saved(rgba(np.uint8(colour), LEVELS))), LEVELS)
    np.testing.assert_array_equal(read(saved(np.dstack([np.full_like(LEVELS, colour), LEVELS]))), LEVELS)


def test_white_ink_on_a_ground_of_another_hidden_colour():
    """On white nothing would be left to see."""
    alpha = np.where(LEVELS > 99, 255, 0)
    np.testing.assert_array_equal(read(saved(rgba(np.where(alpha, 255, 7), alpha))), alpha)
    np.testing.assert_array_equal(read(saved(rgba(np.where(alpha, 0, 7), alpha))), 255 - alpha)


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_one_colour_under_one_alpha_is_a_blank_picture(alpha):
    levels = read(saved(rgba(np.full((3, 4), 50), alpha)))
    assert (levels == round(50 * alpha / 255 + 255 - alpha)).all()


def test_other_depths():
    bits = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(read(saved(Image.fromarray(bits).convert("1"), kind)), bits)
    four = Image.fromarray(np.array([[0, 15, 5]], np.uint8))
    four.putpalette([17 * (i // 3) for i in range(48)])
    np.testing.assert_array_equal(read(saved(four, bits=4)), [[0, 255, 85]])
    pages = saved(LEVELS, "TIFF", save_all=True, append_images=[Image.fromarray(LEVELS)])
    with pytest.raises(ValueError, match="2 images in one file"):
        read(pages)


def test_every_kind_of_image_in_a_folder(tmp_path, rows, model, model_file):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, ending in enumerate(("png", "bmp", "tif", "TIFF", "PNG")):
        Image.fromarray(rows[i].reshape(3, 4)).save(folder / f"{i}.{ending}")
    (folder / "._0.png").write_bytes(b"\0\5\26\7")  # what macOS leaves on other disks
    Image.new("L", (9, 9)).save(folder / ".hidden.png")
    classify(model_file, folder, tmp_path / "out.npy")
    out = np.load(tmp_path / "out.npy")
    assert list(out["file"]) == ["0.png", "1.bmp", "2.tif", "3.TIFF", "4.PNG"]
    assert list(out["label"]) == list(model.predict(rows[:5]))
    for path in folder.iterdir():
        if not path.name.startswith("."):
            path.unlink()
    with pytest.raises(BatchError, match=r"a folder without images \(.png, .*\.tiff, .*\)"):
        classify(model_file, folder, tmp_path / "out.npy")


def test_pictures_on_their_side(tmp_path):
    """The size of all is that of the first as it is seen; one that has it only as it lies is no such image."""
    exif = Image.Exif()
    exif[0x112] = 6
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(saved(STORED[6], exif=exif).getvalue())
    (tmp_path / "3.png").write_bytes(saved(LEVELS, exif=exif).getvalue())
    chunks = list(open_source(str(tmp_path)).chunks(10, None))
    np.testing.assert_array_equal(chunks[0].values, [LEVELS.ravel()] * 3)
    assert "image of (3, 4) pixels, not (4, 3)" in str(chunks[0].rejects[0])
