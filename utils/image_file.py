"""Any picture file that Pillow reads, as an upright RGB picture."""
import contextlib
import glob
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.errors import Stopped, UserError, shown

SIDE = 32
SUPPLIED = Path(__file__).resolve().parent.parent / "image"  # the chapter's own pictures
MAX_BYTES = 200_000_000
# WebP takes 20 bytes a pixel; JPEG 2000 0.6 s for a million, what Pillow decodes in Python up to 2 s; a JPEG is shrunk
# while it is read, except that a progressive one is held whole, with 6 to 8 bytes a pixel.
MAX_PIXELS = {"JPEG": 110_000_000, "MPO": 110_000_000, "WEBP": 30_000_000, "JPEG2000": 8_000_000, "Python": 3_000_000}
ICONS = (b"\0\0\1\0", b"icns")  # starts of files that hold other pictures, decoded before their sizes are known
PHONES = {b"ftyphe": "HEIC", b"ftypmi": "HEIC", b"ftypms": "HEIC", b"ftypav": "AVIF"}  # by bytes 4 to 9 of a file
DEEP = ("PNG", "PPM", "JPEG2000", "TIFF")  # formats whose gray of more than 8 bits Pillow gives with 65535 for white
BITS, WHITE_IS_ZERO, MAXIMUM, SIGNS = 258, 262, 281, 339  # TIFF 6.0's tags about numbers
ORIENTATION = 274  # EXIF's tag: how the camera was held; and what undoes that
TURNS = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
         6: Image.ROTATE_270, 7: Image.TRANSVERSE, 8: Image.ROTATE_90}
warnings.filterwarnings("ignore", module="PIL")  # once, since several threads may read


def find(name):
    """The path of a picture named on the command line: a bare name that is not here is one of image/."""
    supplied = SUPPLIED / name
    is_supplied = os.path.basename(name) == name and not os.path.lexists(name) and os.path.isfile(supplied)
    return supplied if is_supplied else name


def pictures_of(name):
    """The pictures that a name means: those in a folder, or all that fit a pattern which the shell has left."""
    if os.path.isdir(name):
        endings = (*Image.registered_extensions(), ".heic", ".heif", ".avif")
        found = [path for path in glob.glob(os.path.join(glob.escape(name), "*")) if path.lower().endswith(endings)]
    else:
        found = [] if os.path.lexists(name) else glob.glob(name)
    return sorted(filter(os.path.isfile, found)) or [name]


def open_picture(path):
    """Read the picture at `path` -> an upright RGB picture, transparent parts white, of an animation the first frame.

    It is already 32 x 32 where it was transparent, or turned by the camera (EXIF).
    Errors: UserError where there is none, one of unknown scale, or one that would take more than 10 s or 1 GB.
    """
    try:
        _check_file(path)
        with Image.open(path) as picture:
            return _as_rgb(_decode(picture))
    except Stopped:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise UserError(f"{shown(path)}{_problem(error)}") from error


def read_pixels(path):
    """The picture at `path` as the data sets store one: uint8 [3, 32, 32]. Errors: as `open_picture`."""
    return np.asarray(_shrink(open_picture(path))).transpose(2, 0, 1)


def _problem(error):
    """What is wrong with a picture, to follow its name."""
    if isinstance(error, UserError):
        return f" {error}"
    if isinstance(error, UnidentifiedImageError):
        return " is not a picture that Pillow can read"
    if isinstance(error, Image.DecompressionBombError):
        return " has too many pixels: make it smaller"
    if getattr(error, "strerror", None):
        return f": {error.strerror}"
    return f" cannot be decoded ({shown((str(error) or type(error).__name__).splitlines()[0])})"


def _check_file(path):
    """Refuse what is no file of reasonable size, before opening it: opening a FIFO would wait forever."""
    if str(path).lower().startswith(("http:/", "https:/")) and not os.path.exists(path):
        raise UserError("is an address: download the picture and name its file")
    size = os.stat(path).st_size  # of what is missing: an error that says so
    if not os.path.isfile(path):
        raise UserError("is a folder without pictures" if os.path.isdir(path) else "is no ordinary file")
    if not 0 < size <= MAX_BYTES:
        raise UserError(f"is larger than {MAX_BYTES // 1_000_000} MB: make it smaller" if size else "is empty")
    with open(path, "rb") as file:
        start = file.read(10)
    kind = PHONES.get(start[4:])
    if start.startswith(ICONS):
        raise UserError("is an icon: save it as PNG first")
    if kind:
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
        if f".{kind.lower()}" not in Image.registered_extensions():
            raise UserError(f"is {kind}, which this Pillow does not read: python -m pip install "
                            f"{'pillow-heif' if kind == 'HEIC' else '-U pillow'}, or export it as JPEG")


def _decode(picture):
    """Decode an opened picture, a large JPEG at down to an eighth of its size; refuse what takes too long."""
    if picture.format == "EPS":  # a program for another program, without end if it likes
        raise UserError("is PostScript: save it as PNG first")
    if "transparency" in picture.info and any(str(tile[3]).endswith(";16B") for tile in picture.tile):
        raise UserError("hides a color of 16 bits, which Pillow would show: save it with 8 bits")
    kind = "progressive" if picture.info.get("progressive") else picture.format
    if any(tile[0] in Image.DECODERS for tile in picture.tile):
        kind = "Python"
    most = MAX_PIXELS.get(kind, 40_000_000)
    if picture.width * picture.height > most:
        raise UserError(f"has {picture.width} x {picture.height} pixels, more than {most / 1_000_000:g} million: make "
                        "it smaller, or save it as JPEG")
    if picture.format in ("JPEG", "MPO"):
        picture.draft(None, (4 * SIDE, 4 * SIDE))
    picture.load()
    return picture


def _as_rgb(picture):
    """A decoded picture -> RGB, as `open_picture` describes it."""
    turn = None
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, OverflowError):  # EXIF may be broken
        turn = TURNS.get(picture.getexif().get(ORIENTATION))
    if 2 in getattr(picture, "tag_v2", {}).get(SIGNS, ()):
        raise UserError("has numbers with a sign, whose scale is unknown: save it with 8 bits")
    if picture.mode.startswith(("I", "F")):
        picture = _gray(picture)
    elif "transparency" in picture.info or picture.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        picture = _shrink(picture.convert("RGBA"))  # now, since Pillow weights colors by opacity here
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    return picture if turn is None else _shrink(picture).transpose(turn)


def _gray(picture):
    """Gray of 16 bits -> of 8; Pillow's own conversion would cut it off at 255. Errors: UserError for other numbers."""
    tags = getattr(picture, "tag_v2", {})
    if (picture.mode == "F" or picture.format not in DEEP or tags.get(BITS, (16,)) != (16,) or MAXIMUM in tags
            or tags.get(WHITE_IS_ZERO) == 0):
        raise UserError("has numbers whose scale is unknown: save it with 8 bits")
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _shrink(picture):
    """Resize a picture to the networks' size; one of that size stays unchanged."""
    return picture.resize((SIDE, SIDE), Image.LANCZOS)
