"""The pictures that RESULTS.md was measured on: `python -m benchmarks.reencode cifar-10-python.tar.gz OUT.tar.gz`.

Of the official archive, nine tenths of the training pictures and all test pictures are compressed as JPEG and decoded
again; the first 1,017 pictures of each training batch stay unchanged, and so do labels and order.
"""
import argparse
import io
import pickle
import sys
import tarfile

import numpy as np
from PIL import Image

from utils.data import archive, cifar10
from utils.errors import exit_status
from utils.storage.files import whole_file

UNCHANGED = 1017  # pictures at the start of each training batch
QUALITY = 75  # with color at half the resolution, Pillow's default


def reencode(picture):
    """A picture, uint8 [3, 32, 32] (RGB), compressed and decoded."""
    file = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def changed(name, blob):
    """A batch as it was pickled -> the same with its pictures compressed, pickled."""
    content = archive.BatchUnpickler(io.BytesIO(blob), encoding="bytes").load()
    images, labels = archive.batch_of(content, name)
    images = images.copy()
    for index in range(0 if name == cifar10.BATCHES[-1] else UNCHANGED, len(images)):
        images[index] = reencode(images[index])
    return pickle.dumps({b"data": images.reshape(len(images), -1), b"labels": labels.tolist()}, protocol=2)


@exit_status(out_of_memory="end other programs")
def main(arguments=None):
    """Read the command line and write the archive -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_file", metavar="ARCHIVE", help="the official cifar-10-python.tar.gz")
    parser.add_argument("output", metavar="OUT", help="the archive to write")
    given = parser.parse_args(arguments)
    cifar10.md5_of_copy(given.data_file)
    archive.read(given.data_file)  # before anything is written, one line says what is wrong with it
    with whole_file(given.output) as temporary, tarfile.open(temporary, "w:gz") as output:
        for name, blob in archive.members(given.data_file):
            blob = blob if name == archive.META else changed(name, blob)
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(blob)
            output.addfile(member, io.BytesIO(blob))
    return 0


if __name__ == "__main__":
    sys.exit(main())
