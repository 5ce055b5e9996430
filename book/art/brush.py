"""A small paint box on Pillow and NumPy: rounded, shaded, furry shapes, coordinates 0 to 100 (y down)."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LIGHT = np.array((-0.45, -0.65, 0.62), np.float32)  # the sun stands behind the viewer's left shoulder
COARSE = 4  # shading is smooth, so it is worked out on a grid this much coarser


def curve(points, closed=True, steps=10):
    """A smooth line (Catmull-Rom) through the points: array [M, 2]."""
    p = np.asarray(points, np.float32)
    ends = (p[-1:], p[:2]) if closed else (p[:1], p[-1:])
    p = np.concatenate((ends[0], p, ends[1]))
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None]
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        bend, twist = 2 * a - 5 * b + 4 * c - d, 3 * b - a - 3 * c + d
        pieces.append(0.5 * (2 * b + (c - a) * t + bend * t**2 + twist * t**3))
    return np.concatenate(pieces + ([] if closed else [p[-1:]]))


def oval(x, y, wide, high, tilt=0.0):
    """An ellipse's outline; tilt in degrees, clockwise."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    u, v = wide * np.cos(t), high * np.sin(t)
    return np.stack((x + c * u - s * v, y + s * u + c * v), 1)


def turned(points, degrees, center=(50, 50)):
    """The points turned clockwise around a center."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (np.asarray(points) - center) @ np.array(((c, s), (-s, c))) + center


def limb(points, widths):
    """Outline of a tube along a smooth line, `widths` thick at its points: legs, necks, tails, branches."""
    path = curve(points, closed=False)
    thick = np.interp(np.linspace(0, 1, len(path)), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    across = np.stack((-along[:, 1], along[:, 0]), 1) * thick
    turns = np.linspace(np.pi / 2, -np.pi / 2, 9)[1:-1, None]
    tip, root = (path[k] + sign * (np.cos(turns) * along[k] * thick[k] * 0.8 + np.sin(turns) * across[k])
                 for k, sign in ((-1, 1), (0, -1)))
    return np.concatenate((path + across, tip, (path - across)[::-1], root))


def box_blur(field, radius):
    """Three box blurs along each axis, nearly a Gaussian; the border is repeated."""
    radius = max(1, int(round(radius)))
    for axis in (0, 1) * 3:
        wide = [(0, 0), (0, 0)]
        wide[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(field, wide, mode="edge"), axis=axis, dtype=np.float64)
        ahead = np.take(total, range(2 * radius + 1, total.shape[axis]), axis)
        behind = np.take(total, range(0, total.shape[axis] - 2 * radius - 1), axis)
        field = ((ahead - behind) / (2 * radius + 1)).astype(np.float32)
    return field


class Canvas:
    """A square picture of `size` pixels, painted `fine` times larger from back to front."""

    def __init__(self, seed, size=512, fine=2):
        self.size, self.side, self.unit = size, size * fine, size * fine / 100
        self.chance = np.random.default_rng(seed)
        self.image = Image.new("RGB", (self.side, self.side))

    def noise(self, high, wide, grain, octaves=4):
        """Cloudy noise of about -1 to 1, [high, wide]; `grain`: pixels across its largest clouds."""
        total, weight, grain = 0, 1.0, grain / 2  # worked out at half the size
        for _ in range(octaves):
            rows, columns = max(2, int(high / 2 / grain) + 2), max(2, int(wide / 2 / grain) + 2)
            small = Image.fromarray(self.chance.standard_normal((rows, columns), np.float32))
            total = total + weight * np.asarray(small.resize((wide // 2, high // 2), Image.BICUBIC))
            weight, grain = weight * 0.5, max(grain / 2, 2)
        return np.asarray(Image.fromarray(total / 1.6).resize((wide, high), Image.BILINEAR))

    def mask(self, outline, soft=0.0, box=None):
        """How much of each pixel lies inside the outline, float32, for the canvas or a box of it."""
        left, top, right, bottom = box or (0, 0, self.side, self.side)
        stencil = Image.new("L", (right - left, bottom - top))
        points = np.asarray(outline) * self.unit - (left, top)
        ImageDraw.Draw(stencil).polygon([tuple(p) for p in points.tolist()], fill=255)
        if soft:
            stencil = stencil.filter(ImageFilter.GaussianBlur(soft * self.unit))
        return np.asarray(stencil, np.float32) / 255

    def box(self, outline, margin):
        """Pixels (left, top, right, bottom) around an outline: on the canvas, in multiples of COARSE."""
        points = np.asarray(outline)
        low = np.clip((points.min(0) - margin) * self.unit, 0, self.side - 8 * COARSE).astype(int)
        high = np.clip((points.max(0) + margin) * self.unit, 0, self.side).astype(int)
        low, high = low // COARSE * COARSE, high // COARSE * COARSE
        return (*low.tolist(), *np.maximum(high, low + 4 * COARSE).tolist())

    def backdrop(self, stops, cloud=(255, 255, 255), clouds=0.0, grain=50.0, soft=0.0):
        """Fill with the colors of `stops` [(y, color), ...], blended, and clouds of another color."""
        heights = [y * self.unit for y, _ in stops]
        rows = [np.interp(np.arange(self.side), heights, [c[k] for _, c in stops]) for k in range(3)]
        field = np.repeat(np.stack(rows, 1)[:, None], self.side, 1).astype(np.float32)
        if clouds:
            cover = np.clip(self.noise(self.side, self.side, grain * self.unit) * clouds, 0, 1)[..., None]
            field += cover * (np.array(cloud, np.float32) - field)
        self.image = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
        if soft:
            self.blur(soft)

    def blur(self, soft):
        """Put all that is painted so far out of focus."""
        self.image = self.image.filter(ImageFilter.GaussianBlur(soft * self.unit))

    def flat(self, outline, color, opacity=1.0, soft=0.0):
        """Paint an outline in one color, without shading; soft edges on demand (shadows, gleams, marks)."""
        box = self.box(outline, 3 * soft + 1)
        self.blend(box, self.mask(outline, soft, box) * opacity, np.array(color, np.float32))

    def blend(self, box, cover, color):
        """Mix a color into a box of the canvas; cover: the color's share of each pixel."""
        under = np.asarray(self.image.crop(box), np.float32)
        mixed = under + cover[..., None] * (color - under)
        self.image.paste(Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)), box[:2])

    def part(self, outline, color, depth=1.0, marks=(), mottle=0.06, shadow=0.35, gloss=0.0, fur=None):
        """Paint an outline as a rounded body: shaded by the light, with a soft shadow on what lies behind it.

        depth: how strongly it bulges; marks: (outline, color, softness), painted on the skin before the light falls;
        mottle: unevenness of the color; gloss: strength of highlights; fur: (length, direction in degrees, density).
        """
        box = self.box(outline, 6)
        cover = self.mask(outline, 0.12, box)
        skin = np.empty(cover.shape + (3,), np.float32)
        skin[:] = color
        for mark, paint, soft in marks:
            skin += self.mask(mark, soft, box)[..., None] * (np.array(paint, np.float32) - skin)
        skin *= 1 + mottle * self.noise(*cover.shape, 5 * self.unit)[..., None]
        light, gleam = self.shading(cover, depth)
        skin = skin * light[..., None] + 255 * gloss * gleam[..., None]
        if shadow:
            thrown = self.mask(np.asarray(outline) + (0.6, 1.2), 1.3, box) * shadow
            self.blend(box, thrown, np.array((12, 14, 18), np.float32))
        self.blend(box, cover, skin)
        if fur:
            self.fur(outline, box, cover, *fur)

    def shading(self, cover, depth):
        """Light and highlight, two fields like `cover`, on a body that rises like a cushion."""
        high, wide = cover.shape
        small = cover.reshape(high // COARSE, COARSE, wide // COARSE, COARSE).mean((1, 3))
        unit = self.unit / COARSE
        thick = math.sqrt(small.sum() + 1) / unit  # a measure of the body's size, in canvas units
        height = sum(box_blur(small, r * thick * unit) * r for r in (0.05, 0.1, 0.18)) * thick * depth * 2.2
        down, right = np.gradient(height * unit)
        normal = np.stack((-right, -down, np.ones_like(small)), -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        facing = normal @ LIGHT
        light = 0.42 + 0.78 * np.clip(facing, 0, 1) + 0.1 * np.clip(-normal[..., 1], 0, 1)
        gleam = np.clip(facing, 0, 1) ** 18
        return (np.asarray(Image.fromarray(f.astype(np.float32)).resize((wide, high), Image.BICUBIC))
                for f in (light, gleam))

    def fur(self, outline, box, cover, length, angle, density=1.0, wild=22):
        """Comb short hairs over a painted part, each a little lighter or darker than what it lies on."""
        count = int(cover.sum() / 14 * density)
        rows, columns = cover.shape
        y, x = self.chance.integers(0, rows, count * 3), self.chance.integers(0, columns, count * 3)
        inside = cover[y, x] > 0.6
        x, y = x[inside] + box[0], y[inside] + box[1]
        colors = np.asarray(self.image)[y, x].astype(np.float32)
        colors *= self.chance.normal(1, 0.1, (len(x), 1))
        way = np.radians(self.chance.normal(angle, wild, len(x)))
        reach = self.chance.uniform(0.4, 1.1, len(x)) * length * self.unit
        self.strokes(np.stack((x, y), 1), way, reach, colors, 2)

    def strokes(self, roots, ways, lengths, colors, width):
        """Straight strokes from pixel positions `roots`, in order."""
        ink = ImageDraw.Draw(self.image)
        tips = roots + np.stack((np.cos(ways), np.sin(ways)), 1) * np.asarray(lengths)[:, None]
        colors = np.clip(colors, 0, 255).astype(int).tolist()
        for (x, y), (u, v), color in zip(roots.tolist(), tips.tolist(), colors):
            ink.line((x, y, u, v), fill=tuple(color), width=width)

    def line(self, points, color, width):
        """A smooth line of even width."""
        self.flat(limb(points, (width, width)), color)

    def grass(self, top, bottom, colors, tall=6.0, density=1.0):
        """A meadow from the back (`top`) to the front: blades grow larger and hide those behind."""
        count = int(4500 * density)
        y = np.sort(top + (bottom - top) * self.chance.uniform(0, 1, count) ** 0.8)
        near = 0.25 + 0.75 * (y - top) / max(bottom - top, 1)
        x = self.chance.uniform(-2, 102, count)
        palette = np.array(colors, np.float32)[self.chance.integers(0, len(colors), count)]
        palette *= self.chance.normal(1, 0.13, (count, 1))
        ways = np.radians(self.chance.normal(-90, 20, count))
        lengths = tall * near * self.chance.uniform(0.5, 1.2, count) * self.unit
        self.strokes(np.stack((x, y), 1) * self.unit, ways, lengths, palette, 4)

    def crop(self, left, top, wide):
        """Keep a square of the canvas, and go nearer."""
        box = [round(v * self.unit) for v in (left, top, left + wide, top + wide)]
        self.image = self.image.crop(box).resize((self.side, self.side), Image.BICUBIC)

    def finish(self, grain=1.5, step=6):
        """The picture reduced to its size, with a little grain; colors go in steps: a smaller file."""
        small = np.asarray(self.image.resize((self.size, self.size), Image.BOX), np.float32)
        small = small + grain * self.chance.standard_normal(small.shape[:2])[..., None]
        return Image.fromarray(np.clip(np.round(small / step) * step, 0, 255).astype(np.uint8))
