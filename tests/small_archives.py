"""Small archives in CIFAR-10's layout, right ones and wrong ones, written without any code of the project."""
import io
import pickle
import struct
import tarfile

import numpy as np

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
NAMES = (b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck")


def batch(number, rows=20):
    """The dict of one batch: pixels from a seed, labels 0 to 9 in a shifted order."""
    pixels = np.random.default_rng(number).integers(0, 256, (rows, 3072)).astype(np.uint8)
    return {b"batch_label": b"a batch", b"labels": [(row + number) % 10 for row in range(rows)],
            b"data": pixels, b"filenames": [b"%d.png" % row for row in range(rows)]}


def contents(rows=20):
    """What a right archive holds: {name: dict}, in an order of its own, as in the official one."""
    parts = {name: batch(number, rows) for number, name in enumerate(BATCHES)}
    order = ("data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5", "data_batch_1")
    meta = {b"label_names": list(NAMES), b"num_cases_per_batch": rows, b"num_vis": 3072}
    return {"batches.meta": meta, **{name: parts[name] for name in order}}


def contents_of(images, labels):
    """Six batches of equal size with these images, uint8 [N, 3, 32, 32], and labels [N]."""
    rows = np.split(images.reshape(len(images), 3072), len(BATCHES))
    return {name: {b"data": pixels, b"labels": part.tolist()}
            for name, pixels, part in zip(BATCHES, rows, np.split(labels, len(BATCHES)))}


def write(path, members, mode="w:gz", folder="cifar-10-batches-py/"):
    """Write {name: dict, or pickled bytes} as an archive; returns the path."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            blob = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(folder + name)
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))
    return path


def python2_pickle(pixels, labels):
    """The bytes of a batch as Python 2 wrote the official ones: protocol 2, strings as (SHORT_)BINSTRING."""
    def text(value):
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xff" \
        + b"J\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    shape = b"(" + b"".join(b"M" + struct.pack("<H", size) for size in pixels.shape) + b"t"
    raw = b"T" + struct.pack("<I", pixels.size) + pixels.tobytes()
    array = empty + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."
