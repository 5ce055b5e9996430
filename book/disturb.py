"""The chapter's four ways to disturb a picture, each at three strengths; what is on it stays the same."""
import numpy as np
from PIL import Image

STRENGTHS = (1, 2, 3)  # weak, medium, strong


def warp(images, across, down):
    """Images with every pixel taken from another place, between pixels by their weighted mean.

    images: float32 [N, C, H, W] -> the same
    across, down: [H, W], the places in pixels; beyond the border the image is mirrored.
    """
    height, width = images.shape[2:]
    top, left = np.floor(down).astype(int), np.floor(across).astype(int)
    part_down, part_across = (down - top).astype(np.float32), (across - left).astype(np.float32)
    rows = (mirrored(top, height), 1 - part_down), (mirrored(top + 1, height), part_down)
    columns = (mirrored(left, width), 1 - part_across), (mirrored(left + 1, width), part_across)
    return sum(images[:, :, row, column] * (part_of_row * part_of_column)
               for row, part_of_row in rows for column, part_of_column in columns)


def mirrored(places, size):
    """Whole places brought into 0 .. size - 1 by mirroring at the borders."""
    places = places % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)


def places_of(images):
    """Coordinates of the pixels from -1 to 1: (across [H, W], down [H, W])."""
    height, width = images.shape[2:]
    down, across = np.meshgrid((np.arange(height) + 0.5) * 2 / height - 1, (np.arange(width) + 0.5) * 2 / width - 1,
                               indexing="ij")
    return across, down


def taken_at(images, across, down):
    """`warp` with coordinates from -1 to 1."""
    height, width = images.shape[2:]
    return warp(images, (across + 1) * width / 2 - 0.5, (down + 1) * height / 2 - 0.5)


def viewpoint(images, strength):
    """Seen from the side: a flat picture turned by 20, 30 or 40 degrees about an upright axis."""
    angle, distance = np.radians((20, 30, 40)[strength - 1]), 4.0
    across, down = places_of(images)
    depth = distance / (distance * np.cos(angle) - across * np.sin(angle))  # where the line of sight meets it
    return taken_at(images, across * depth,
                    down * depth * (np.cos(angle) + across * depth * np.sin(angle) / distance))


def light(images, strength):
    """Lit from one side: 0.7, 0.45 or 0.25 of the light on the left, twice as much on the right."""
    across, _ = places_of(images)
    factor = (0.7, 0.45, 0.25)[strength - 1] * (1 + (across + 1) / 2)
    return np.clip(images * factor.astype(np.float32), 0, 1)


def deformation(images, strength):
    """Bent in waves: each place moved by up to 0.06, 0.12 or 0.18 of half the picture."""
    amplitude = (0.06, 0.12, 0.18)[strength - 1]
    across, down = places_of(images)
    return taken_at(images, across + amplitude * np.sin(1.5 * np.pi * down + 0.5),
                    down + amplitude * np.sin(1.5 * np.pi * across))


def occlusion(images, strength):
    """Partly hidden: a gray board over the lower 20%, 35% or 50% of the left four fifths."""
    height, width = images.shape[2:]
    hidden = images.copy()
    hidden[:, :, height - round(height * (0.2, 0.35, 0.5)[strength - 1]):, :round(width * 0.8)] = 0.5
    return hidden


KINDS = {"viewpoint": viewpoint, "light": light, "deformation": deformation, "occlusion": occlusion}


def hidden_from_above(images, strength):
    """The board of `occlusion` over the upper part, where a head is more often than legs are."""
    return np.flip(occlusion(np.flip(images, 2), strength), 2)


SHOWN = {**KINDS, "occlusion from above": hidden_from_above}  # as examples; what is measured is KINDS


def disturb(images, kind, strength):
    """Images disturbed in one of the ways `SHOWN`: float32 [N, 3, H, W] in [0, 1] -> the same."""
    return SHOWN[kind](images, strength).astype(np.float32)


def small_examples(path):
    """One picture undisturbed, and disturbed in each way at each strength, as a network gets it.

    Returns {"undisturbed": ..., "viewpoint 1": ..., ...}, each float32 [1, 3, 32, 32] in [0, 1]; they are
    disturbed at 256x256 and then reduced, as if photographed like that.
    """
    with Image.open(path) as picture:
        large = np.asarray(picture.convert("RGB").resize((256, 256), Image.LANCZOS), np.float32) / 255
    whole = large.transpose(2, 0, 1)[np.newaxis]  # (H, W, C) -> (1, C, H, W)
    examples = {f"{kind} {strength}": disturb(whole, kind, strength) for kind in SHOWN for strength in STRENGTHS}
    return {name: reduced(example) for name, example in {"undisturbed": whole, **examples}.items()}


def reduced(picture):
    """[1, 3, 256, 256] -> [1, 3, 32, 32], as `infer.py` would read it from a file."""
    large = Image.fromarray((picture[0].transpose(1, 2, 0) * 255).round().astype(np.uint8))
    small = np.asarray(large.resize((32, 32), Image.LANCZOS), np.float32) / 255
    return np.ascontiguousarray(small.transpose(2, 0, 1))[np.newaxis]
