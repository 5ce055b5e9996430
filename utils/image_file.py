"""Any picture file that Pillow reads, as an upright RGB picture."""
import contextlib
import os
import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils.errors import Stopped, UserError, shown

SIDE = 32
SUPPLIED = Path(__file__).resolve().parent.parent / "image"  # the chapter's own pictures
MAX_BYTES = 200_000_000
# WebP's decoder holds 20 bytes for a pixel; JPEG 2000 takes 0.6 s for a million; a JPEG is shrunk while it is
# read, except that a progressive one is held whole, with 6 to 8 bytes for a pixel.
MAX_PIXELS = {"JPEG": 110_000_000, "MPO": 110_000_000, "WEBP": 30_000_000, "JPEG2000": 8_000_000}
MAX_PIXELS_ELSE = 40_000_000
MAX_SIDE = 200_000  # Pillow's resize holds 50 bytes for a pixel of a side, and is slow where lines are short and many
ORIENTATION = 274  # EXIF's tag
PILLOW_MAX_PIXELS = 55_000_000  # Pillow refuses twice as many, also of pictures inside others (icons)


def find(name):
    """The path of a picture named on the command line: a bare name that is not here is one of image/."""
    supplied = SUPPLIED / name
    if os.path.basename(name) == name and not os.path.exists(name) and os.path.isfile(supplied):
        return supplied
    return name


def open_picture(path):
    """Read the picture at `path` -> an upright RGB picture, transparent parts white, of an animation the first frame.

    It is already 32 x 32 where it was transparent, turned by the camera (EXIF), or gray of more than 8 bits.
    Errors: UserError where there is no file, no picture in it, or one of a size that takes more than 10 s or 1 GB.
    """
    name = shown(path)
    _check_file(path, name)
    try:
        with _pillow_for_any_file(), Image.open(path) as picture:
            return _as_rgb(_decode(picture, name))
    except (UserError, Stopped):
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels: make it smaller") from None
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} cannot be decoded ({shown(detail)})") from error


def read_pixels(path):
    """The picture at `path` as the data sets store one: uint8 [3, 32, 32]. Errors: as `open_picture`."""
    return np.asarray(_shrink(open_picture(path))).transpose(2, 0, 1)


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


def _as_rgb(picture):
    """A decoded picture -> RGB, as `open_picture` describes it."""
    if picture.mode.startswith(("I", "F")):
        return _deep_as_rgb(picture)
    if "transparency" not in picture.info and picture.mode not in ("RGBA", "RGBa", "LA", "La", "PA"):
        return _upright(picture.convert("RGB"))
    small = _upright(_shrink(picture.convert("RGBA")))  # shrunk first: Pillow weights colors by opacity there
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def _deep_as_rgb(picture):
    """`_as_rgb` for gray of more than 8 bits, which Pillow's own conversion would cut off at 255.

    White is 65535 for 16 bits; where the format does not say, the first of 1, 255 and 65535 that no pixel
    exceeds, else the brightest pixel.
    """
    gray = np.asarray(picture.convert("F"))
    gray = np.where(np.isfinite(gray), gray, np.float32(0))
    brightest = gray.max()
    scales = (65535,) if picture.mode.startswith("I;16") else (1, 255, 65535)
    white = next((scale for scale in scales if scale >= brightest), brightest)
    small = _shrink(Image.fromarray(gray / np.float32(white)))
    small.info = picture.info
    gray = np.clip(np.asarray(_upright(small)), 0, 1)  # LANCZOS swings beyond sharp edges
    return Image.fromarray(np.rint(gray * 255).astype(np.uint8)).convert("RGB")


def _shrink(picture):
    """Resize a picture to the networks' size; one of that size stays as it is."""
    return picture.resize((SIDE, SIDE), Image.LANCZOS)


def _upright(picture):
    """Undo the turn that the camera noted, in the shrunk picture; one without, or with broken EXIF, stays as it is."""
    try:
        if picture.getexif().get(ORIENTATION, 1) == 1:
            return picture
        return ImageOps.exif_transpose(_shrink(picture))
    except (SyntaxError, ValueError, TypeError, KeyError, OverflowError):
        return picture
