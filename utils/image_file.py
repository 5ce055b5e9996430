"""Any picture file that Pillow reads, as the networks' input."""
import contextlib
import os
import re
import stat
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils.errors import Stopped, UserError, shown

SIDE = 32
MAX_BYTES = 200_000_000
# WebP's decoder holds 20 bytes for a pixel; JPEG 2000 takes 0.6 s for a million; a JPEG is shrunk while it is
# read, except that a progressive one is held whole, with 6 to 8 bytes for a pixel.
MAX_PIXELS = {"JPEG": 110_000_000, "MPO": 110_000_000, "WEBP": 30_000_000, "JPEG2000": 8_000_000}
MAX_PIXELS_ELSE = 40_000_000
MAX_SIDE = 200_000  # Pillow's resize holds 50 bytes for a pixel of a side, and is slow where lines are short and many
PILLOW_MAX_PIXELS = 55_000_000  # Pillow refuses twice as many, also of pictures inside others (icons)


def read_picture(path):
    """Read the picture at `path` -> [1, 3, 32, 32] float32 in [0, 1], channels in the order red, green, blue.

    Transparent parts turn white, an animation gives its first frame, and the camera's rotation (EXIF) is undone.
    Errors: UserError where there is no file, no picture in it, or one of a size that takes more than 10 s or 1 GB.
    """
    name = shown(path)
    _check_file(path, name)
    try:
        with _pillow_for_any_file(), Image.open(path) as picture:
            return pixels_of(_decode(picture, name))
    except (UserError, Stopped):
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels: make it smaller") from None
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} cannot be decoded ({shown(detail)})") from error


def pixels_of(picture):
    """A decoded picture as the networks read it: [1, 3, 32, 32] float32 in [0, 1]."""
    return np.ascontiguousarray(_shrink(picture).transpose(2, 0, 1))[np.newaxis]  # (H, W, C) -> (1, C, H, W)


@contextlib.contextmanager
def _pillow_for_any_file():
    """Pillow with this module's limit of pixels and without its warnings of huge or odd files; both are restored."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = PILLOW_MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_file(path, name):
    """Refuse what is no file of reasonable size, before opening it: opening a FIFO would wait forever."""
    try:
        state = os.stat(path)
    except OSError as error:
        if re.match("https?:/", str(path), re.IGNORECASE):
            raise UserError(f"{name} is an address: download the picture and name its file") from error
        raise UserError(f"{name}: {error.strerror or error}") from error
    if stat.S_ISDIR(state.st_mode):
        raise UserError(f"{name} is a folder: name the pictures in it")
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{name} is no ordinary file")
    if state.st_size == 0:
        raise UserError(f"{name} is empty")
    if state.st_size > MAX_BYTES:
        raise UserError(f"{name} is larger than {MAX_BYTES // 1_000_000} MB: make it smaller")
    if not os.access(path, os.R_OK):
        raise UserError(f"{name} may not be read: Permission denied")


def _decode(picture, name):
    """Decode an opened picture, a large JPEG at down to an eighth of its size; refuse what takes too long."""
    if picture.format == "EPS":  # a program for another program, without end if it likes
        raise UserError(f"{name} is PostScript: save it as PNG first")
    _check_size(picture, name)
    if picture.format in ("JPEG", "MPO"):
        picture.draft(None, (4 * SIDE, 4 * SIDE))
    picture.load()
    _check_size(picture, name)  # an icon knows the size of the picture inside it only now
    return picture


def _check_size(picture, name):
    """Refuse a picture with more pixels than its format can be decoded with, and resized, in 10 s and 1 GB."""
    kind = "progressive" if picture.info.get("progressive") else picture.format
    most = MAX_PIXELS.get(kind, MAX_PIXELS_ELSE)
    if picture.width * picture.height > most:
        raise UserError(f"{name} has {picture.width} x {picture.height} pixels, more than "
                        f"{most // 1_000_000} million: make it smaller")
    if max(picture.size) > MAX_SIDE:
        raise UserError(f"{name} has {picture.width} x {picture.height} pixels, more than {MAX_SIDE:,} on a side: "
                        "crop it")


def _shrink(picture):
    """Resize a decoded picture and turn it upright -> [32, 32, 3] float32 in [0, 1]."""
    if picture.mode.startswith(("I", "F")):
        return _shrink_deep(picture)
    transparent = "transparency" in picture.info or picture.mode in ("RGBA", "RGBa", "LA", "La", "PA")
    small = picture.convert("RGBA" if transparent else "RGB").resize((SIDE, SIDE), Image.LANCZOS)
    small = _upright(small)
    if transparent:  # shrunk first: Pillow weights colors by opacity there
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return np.asarray(small, np.float32) / 255


def _shrink_deep(picture):
    """`_shrink` for gray of more than 8 bits, which Pillow's own conversion would cut off at 255.

    White is 65535 for 16 bits; where the format does not say, the first of 1, 255 and 65535 that no pixel
    exceeds, else the brightest pixel.
    """
    gray = np.asarray(picture.convert("F"))
    gray = np.where(np.isfinite(gray), gray, np.float32(0))
    brightest = gray.max()
    scales = (65535,) if picture.mode.startswith("I;16") else (1, 255, 65535)
    white = next((scale for scale in scales if scale >= brightest), brightest)
    small = Image.fromarray(gray / np.float32(white)).resize((SIDE, SIDE), Image.LANCZOS)
    small.info = picture.info
    gray = np.clip(np.asarray(_upright(small)), 0, 1)  # LANCZOS swings beyond sharp edges
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def _upright(picture):
    """Undo the turn that the camera noted; a picture with broken EXIF stays as it is."""
    try:
        return ImageOps.exif_transpose(picture)
    except (SyntaxError, ValueError, TypeError, KeyError, OverflowError):
        return picture
