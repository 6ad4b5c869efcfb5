"""Folders of images as rows of grey levels: 0 black to 255 white, whatever a file's depth, orientation and alpha."""

import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError, Chunk, Reject
from somknn.datasets.kinds import IMAGES, UNREAD_IMAGES

UNREADABLE = OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error  # what Pillow raises for damage
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value of the second


def grey_levels(image: Any) -> np.ndarray:
    """The grey levels of an opened Pillow image as it is to be seen, uint8 (height, width).

    - Pixels of 16 (or 12) bits keep their upper 8: 65,535 is white as 255 is.
    - The orientation that a camera wrote (EXIF) is applied.
    - Transparent pixels let a white ground through. But where the colour is the same everywhere, or nothing is left to
      see on white, the picture is in the alpha channel, and its values are the grey levels: opaque ink is 255, as in
      MNIST.

    Raises ValueError for several images in one file, and for pixels of 32 bits, whose white is not known.
    """
    from PIL import ImageOps

    kind, tags = image.format, getattr(image, "tag_v2", {})
    if kind in ("TIFF", "PNG", "GIF", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{image.n_frames} images in one file; save them one by one")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):  # older Pillows open those as I
        values = np.asarray(image).astype(np.int64)
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        key = image.info.get("transparency")
        alpha = np.full(values.shape, 255) if key is None else np.where(values == key, 0, 255)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = (1 << bits) - 1 - values
        levels, one_colour = values >> (bits - 8), values.min() == values.max()
    elif image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits, whose white is not known; save it with 8 or 16 bits")
    elif not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    else:
        coloured = image.convert("RGBA")
        levels, alpha = (
            np.asarray(part).astype(np.int64) for part in (coloured.convert("L"), coloured.getchannel("A"))
        )
        one_colour = all(low == high for low, high in coloured.getextrema()[:3])
    on_white = (levels * alpha + 255 * (255 - alpha) + 127) // 255
    if alpha.min() < alpha.max() and (one_colour or on_white.min() == on_white.max()):
        return alpha.astype(np.uint8)
    return on_white.astype(np.uint8)


def image_names(folder: Path) -> list[str]:
    """The images in a folder and in its folders, as sorted paths below it; hidden files and folders are passed over.

    Raises BatchError for images of kinds that are not read (.heic and the like), which would be missing unseen.
    """
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        below = Path(place).relative_to(folder)
        for name in (each for each in files if not each.startswith(".")):
            ending = os.path.splitext(name)[1].lower()
            if ending in UNREAD_IMAGES:
                raise BatchError(f"{Path(place) / name}: {ending} images are not read: save it as PNG, or take it away")
            if ending in IMAGES:
                names.append((below / name).as_posix())
    return sorted(names)


def _raise_if_of_the_system(error: BaseException) -> None:
    """Raise an error of the disk or of permissions again: it says nothing about the image."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


class ImageSource:
    """A folder of images, read as grey levels in order of their paths; all must have the size of the first readable.

    Images in folders below it count too. Hidden files, whose names begin with a dot, are passed over. `names` are those
    to read, all by default; `some` says whether they were given.
    """

    dtype = np.dtype(np.uint8)
    feature_names = None
    has_names = False

    def __init__(self, path: Path, names: list[str] | None = None):
        try:
            import PIL.Image
        except ImportError:
            raise BatchError("images need Pillow: pip install 'somknn[files]'") from None
        self._open = PIL.Image.open
        self._unreadable = (*UNREADABLE, PIL.Image.DecompressionBombError)
        self.some, self.folder, alone = names is not None, path, names is not None and len(names) == 1
        self.names = image_names(path) if names is None else names
        self.path = path / self.names[0] if alone else path
        if not self.names:
            raise BatchError(f"{path}: a folder without images ({', '.join(IMAGES)}) and without parts of a table")
        self.n_rows = len(self.names)
        self._shape: tuple[int, ...] | None = None
        reason = ""
        for name in self.names:
            try:
                self._shape = self._read(name).shape
                break
            except self._unreadable as error:
                _raise_if_of_the_system(error)
                reason = reason or " ".join(str(error).split())[:120]
        else:
            what = f"it cannot be read ({reason})" if alone else f"none of the {self.n_rows} images can be read"
            raise BatchError(f"{self.path}: {what}")
        self.width = self._shape[0] * self._shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of the images."""
        assert self._shape is not None
        return self._shape

    def _read(self, name: str) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with self._open(self.folder / name) as image:
                # Before any pixel is decoded. A picture on its side is turned by `grey_levels`.
                if self._shape is not None and sorted(image.size) != sorted(self._shape):
                    raise ValueError(f"image of {image.size} pixels, not {self._shape[::-1]}")
                levels = grey_levels(image)
        if self._shape is not None and levels.shape != self._shape:
            raise ValueError(f"image of {levels.shape[::-1]} pixels, not {self._shape[::-1]}")
        return levels

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        for first in range(int(start or 0), self.n_rows, n):
            names = self.names[first : first + n]
            values, kept, rejects = [], [], []
            for row, name in enumerate(names, first):
                try:
                    values.append(self._read(name).ravel())
                    kept.append(row)
                except self._unreadable as error:
                    _raise_if_of_the_system(error)
                    reason = " ".join(str(error).split())[:120].replace(str(self.folder), "")
                    rejects.append(Reject(str(self.folder / name), row, 0, 0, reason or "unreadable image", ""))
            array = np.array(values, dtype=np.uint8).reshape(len(values), self.width)
            yield Chunk(-1, array, np.array(kept, dtype=np.int64), len(names), first + len(names), rejects)
