"""Pictures of every kind against colors and places that are known because the test put them there."""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from infer import load_image
from utils import image_file
from utils.errors import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def color_of(path):
    """Mean color of what load_image gives, in 0 to 255."""
    pixels = load_image(path)
    assert pixels.shape == (1, 3, 32, 32) and pixels.dtype == np.float32
    assert pixels.min() >= 0 and pixels.max() <= 1
    return pixels.mean(axis=(0, 2, 3)) * 255


def quarters(side=64):
    """Red, green; blue, white: a picture whose turn can be seen."""
    image = Image.new("RGB", (side, side), "white")
    half = side // 2
    for color, place in ((RED, (0, 0)), (GREEN, (half, 0)), (BLUE, (0, half))):
        image.paste(color, (*place, place[0] + half, place[1] + half))
    return image


def corners(pixels):
    """The letters of the colors in the corners, row by row."""
    letters = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    seen = [np.round(pixels[0, :, y, x]).astype(int) for y in (4, 27) for x in (4, 27)]
    return "".join(letters[tuple(color)] for color in seen)


def test_a_32x32_picture_comes_through_pixel_by_pixel(tmp_path):
    values = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    expected = values.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / 255
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("orientation, seen", list(enumerate(
    ["rgbw", "grwb", "wbgr", "bwrg", "rbgw", "brwg", "wgbr", "gwrb"], start=1)))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_cameras_turn_is_undone(tmp_path, orientation, seen, ending):
    # EXIF 2.32, tag 274: which corner of the scene the file's first row and column are.
    exif = Image.Exif()
    exif[274] = orientation
    quarters().save(tmp_path / f"a.{ending}", exif=exif)
    assert corners(load_image(tmp_path / f"a.{ending}")) == seen


def test_broken_exif_does_not_cost_the_picture(tmp_path):
    quarters().save(tmp_path / "a.jpg", exif=b"Exif\0\0no TIFF header")
    assert corners(load_image(tmp_path / "a.jpg")) == "rgbw"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr",
                                  "LAB", "HSV", "I", "I;16", "I;16B", "I;16L"])
def test_every_mode_of_pillow_gives_its_color(mode):
    white = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}
    if mode in white:
        image, expected = Image.new(mode, (40, 30), white[mode]), (255, 255, 255)
    elif mode == "LAB":  # sRGB's red under D50: L* 54.3 of 100, a* 80.8, b* 69.9 (both kept with 128 added)
        image, expected = Image.new("LAB", (40, 30), (138, 209, 198)), RED
    elif mode == "RGBa":
        image, expected = Image.new("RGBA", (40, 30), RED).convert("RGBa"), RED
    elif mode in ("1", "L", "LA"):
        image, expected = Image.new("L", (40, 30), 255).convert(mode), (255, 255, 255)
    elif mode == "PA":
        image, expected = Image.new("RGB", (40, 30), RED).convert("P").convert("PA"), RED
    else:
        image, expected = Image.new("RGB", (40, 30), RED).convert(mode), RED
    assert image.mode == mode
    image.format = "PNG"  # which says that white is 65535 where it has more than 8 bits
    picture = image_file._as_rgb(image)
    assert picture.mode == "RGB"
    np.testing.assert_allclose(np.asarray(picture).mean(axis=(0, 1)), expected, atol=6 if mode == "LAB" else 2)


def test_deep_gray_keeps_its_brightness(tmp_path):
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "a.png")
    row = load_image(tmp_path / "a.png")[0, 0, 16]
    np.testing.assert_allclose(row[2:-2], np.linspace(0, 1, 64).reshape(32, 2).mean(axis=1)[2:-2], atol=0.01)


def tiff(values, bits, order="<", **tags):
    """The bytes of an uncompressed gray TIFF of 32 x 32 pixels, whose rows are given; tags: see TIFF_TAGS.

    Written by hand after TIFF 6.0, section 2, since Pillow writes few of these kinds.
    """
    content = values if isinstance(values, bytes) else values.astype(values.dtype.newbyteorder(order)).tobytes()
    entries = {256: (4, 32), 257: (4, 32), 258: (3, bits), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1),
               278: (4, 32), 279: (4, len(content)), **{TIFF_TAGS[name]: value for name, value in tags.items()}}
    rows = b""
    for tag, (kind, value) in sorted(entries.items()):
        letter = {3: "H2x", 4: "I"}[kind]
        packed = struct.pack(order + letter, value)
        rows += struct.pack(order + "HHI", tag, kind, 1) + packed
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(content))
    return start + content + struct.pack(order + "H", len(entries)) + rows + bytes(4)


TIFF_TAGS = {"photometric": 262, "maximum": 281, "signs": 339}
RAMP = np.linspace(0, 1, 32)[np.newaxis].repeat(32, 0)  # black at the left, white at the right


def packed_in_12_bits(values):
    """Rows of 12-bit numbers, two in three bytes."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("order", "<>")
def test_gray_of_16_bits_is_read_from_a_tiff(order, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff((RAMP * 65535).astype("u2"), 16, order))
    np.testing.assert_allclose(load_image(tmp_path / "a.tif")[0], np.stack([RAMP] * 3), atol=0.005)


@pytest.mark.parametrize("content", [
    tiff((RAMP * 32767).astype("i2"), 16, signs=(3, 2)), tiff((RAMP * 255).astype("i4"), 32, signs=(3, 2)),
    tiff((RAMP * 127).astype("i1"), 8, signs=(3, 2)), tiff((RAMP * 300).astype("f4"), 32, signs=(3, 3)),
    tiff((RAMP * 65535).astype("u2"), 16, photometric=(3, 0)), tiff((RAMP * 4095).astype("u2"), 16, maximum=(3, 4095)),
    tiff(packed_in_12_bits(RAMP * 4095), 12), tiff((RAMP * (2 ** 32 - 1)).astype("u4"), 32)], ids=str)
def test_deep_gray_of_unknown_scale_is_one_line(content, tmp_path):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UserError, match="scale is unknown: save it with 8 bits"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("color, hidden", [(0, b"\x12\x34"), (2, b"\x12\x34" * 3)])
def test_a_hidden_color_of_16_bits_is_one_line(color, hidden, tmp_path):
    """A PNG of this one color, gray or RGB, which its tRNS chunk calls transparent."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, color, 0, 0, 0)), (b"tRNS", hidden),
              (b"IDAT", zlib.compress((b"\0" + 8 * hidden) * 8)), (b"IEND", b""))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks))
    with pytest.raises(UserError, match="hides a color of 16 bits"):
        load_image(tmp_path / "a.png")


def slow_kinds():
    """Starts of files of 12 million pixels that Pillow decodes in Python; what follows them is never looked at."""
    rows = {"ppm of 16 bits": b"P6 4000 3000 65535\n", "ppm in letters": b"P3 4000 3000 255\n",
            "qoi": struct.pack(">4sIIBB", b"qoif", 4000, 3000, 3, 0),
            "sgi of 16 bits": struct.pack(">HBBHHHH", 474, 0, 2, 3, 4000, 3000, 3) + bytes(500),
            "bmp": struct.pack("<2s4I2i2H6I", b"BM", 9, 0, 1078, 40, 4000, 3000, 1, 8, 1, 9, *bytes(4)) + bytes(1024)}
    return [pytest.param(content + bytes(1000), id=name) for name, content in rows.items()]


@pytest.mark.parametrize("content", slow_kinds())
def test_slow_decoders_are_refused_before_they_begin(content, tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match="4000 x 3000 pixels, more than 3 million"):
        load_image(tmp_path / "a")


@pytest.mark.parametrize("start, words", [
    (b"\0\0\0\x18ftypheic", "is HEIC.*pillow-heif, or export it as JPEG"),
    (b"\0\0\0\x18ftypmif1", "is HEIC.*or export it as JPEG")])
def test_a_phones_format_is_named_with_its_cure(start, words, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(start + bytes(100))
    with pytest.raises(UserError, match=words):
        load_image(tmp_path / "a.heic")


def test_avif_is_named_where_this_pillow_does_not_read_it(tmp_path, monkeypatch):
    endings = {ending: kind for ending, kind in Image.registered_extensions().items() if kind != "AVIF"}
    monkeypatch.setattr(Image, "registered_extensions", lambda: endings)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(100))
    with pytest.raises(UserError, match="is AVIF.*-U pillow, or export it as JPEG"):
        load_image(tmp_path / "a.avif")


def test_what_is_transparent_is_white_and_colors_hidden_there_do_not_leak(tmp_path):
    image = Image.new("RGBA", (320, 320), (*RED, 0))
    image.paste((*BLUE, 255), (0, 0, 160, 320))
    image.save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png")
    assert corners(pixels) == "bwbw"
    assert (pixels[0, 0] <= pixels[0, 1] + 0.01).all(), "red shines through at the edge"


@pytest.mark.parametrize("mode, hidden", [("P", 0), ("L", 76), ("RGB", RED)])
def test_a_color_declared_transparent_is_white(tmp_path, mode, hidden):
    image = Image.new("RGB", (64, 64), RED)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)) if mode == "P" else hidden)
    np.testing.assert_allclose(color_of(tmp_path / "a.png"), (255, 255, 255), atol=1)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_an_animation_gives_its_first_frame(tmp_path, ending):
    frames = [Image.new("RGB", (48, 48), color) for color in (GREEN, RED, BLUE)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(color_of(tmp_path / f"a.{ending}"), GREEN, atol=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 10000), (10000, 1), (31, 33)])
def test_odd_sizes(tmp_path, size):
    Image.new("RGB", size, GREEN).save(tmp_path / "a.png")
    np.testing.assert_allclose(color_of(tmp_path / "a.png"), GREEN, atol=1)


def test_a_large_jpeg_is_read_at_an_eighth(tmp_path):
    quarters(4096).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as opened:
        assert image_file._decode(opened).size == (512, 512)
    assert corners(load_image(tmp_path / "a.jpg")) == "rgbw"


@pytest.mark.parametrize("kind, size", [("PNG", (8000, 5001)), ("JPEG2000", (2900, 2900)),
                                        ("WEBP", (6300, 4800)), ("PNG", (50000, 50000))])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, kind, size):
    if kind == "PNG":  # the header is enough
        chunk = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        (tmp_path / "a").write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    else:
        Image.new("L", size).save(tmp_path / "a", kind)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match="pixels"):
        load_image(tmp_path / "a")


@pytest.mark.parametrize("address", ["http://example.org/dog.png", "HTTPS://example.org/dog.png",
                                     Path("https://example.org/dog.png")], ids=str)
def test_an_address_is_told_from_a_file_that_is_missing(address):
    with pytest.raises(UserError, match="is an address: download the picture"):
        load_image(address)


@pytest.mark.parametrize("kind", ["ICO", "ICNS"])
def test_an_icon_is_refused_before_it_is_opened(kind, tmp_path, monkeypatch):
    """It could hold a picture of any size, which Pillow decodes while it opens it."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a", kind)
    monkeypatch.setattr(Image, "open", lambda path: pytest.fail("opened"))
    with pytest.raises(UserError, match="is an icon: save it as PNG"):
        load_image(tmp_path / "a")


def test_names_are_shown_on_one_line():
    assert image_file.shown("Hündchen 犬.png") == "Hündchen 犬.png"
    assert image_file.shown("a\nb\x1b[2J\udcff.png") == "a\\nb\\x1b[2J\\udcff.png"


def test_avif_where_this_pillow_has_it(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (64, 64), BLUE).save(tmp_path / "a.avif")
    np.testing.assert_allclose(color_of(tmp_path / "a.avif"), BLUE, atol=6)
