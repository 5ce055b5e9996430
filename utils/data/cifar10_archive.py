"""CIFAR-10's archive, read without trusting it: nothing in it is executed, and none of it can fill the memory."""
import gzip
import io
import pickle
import pickletools
import posixpath
import reprlib
import tarfile
import zlib
from typing import NamedTuple

import numpy as np

from utils.data.cifar10 import ARCHIVE, CLASSES
from utils.errors import Stopped, UserError

FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
META = "batches.meta"
BATCH_ROWS = 10_000
ROW_BYTES = 3 * 32 * 32

# A real batch has 31 MB, or up to 62 MB as Python 3 pickles it; the whole archive has up to 370 MB.
MAX_UNPACKED = 512 * 2**20
MAX_MEMBER = 64 * 2**20
# A real batch has up to 90,152 opcodes; 10,008 of them make a tuple, most for the name of an image.
MAX_OPCODES = 200_000
MAX_TUPLES = 12_000  # nested tuples overflow the C stack when they are hashed: more than 100,000 in 8 MB
TUPLE_OPCODES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
PUT_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")

HEADER = 512  # bytes; what follows a header is padded to a multiple of it
WITHOUT_CONTENT = b"123456"  # tar's types for links, devices, folders and pipes


class Images(NamedTuple):
    """All images of an archive: images uint8 [N, 3, 32, 32] (RGB), labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def read(path):
    """All images of an archive in the official layout; UserError says what is wrong with any other file."""
    slots = np.empty((len(TRAIN_BATCHES) + 1, BATCH_ROWS, ROW_BYTES), np.uint8)  # filled in place, not copied
    labels = {}
    try:
        for name, blob in members(path):
            where = f"{path}: {name}"
            content = unpickle(blob, where)
            if name == META:
                check_classes(content, where)
                continue
            pixels = batch_pixels(content.get("data"), where)
            labels[name] = batch_labels(content.get("labels"), len(pixels), where)
            slots[(*TRAIN_BATCHES, TEST_BATCH).index(name), :len(pixels)] = pixels
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, MemoryError) as error:
        raise UserError(f"{path} is not a whole {ARCHIVE} ({error}): fetch it again") from error
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in labels]
    if missing:
        raise UserError(f"{path} is not a whole {ARCHIVE}: {FOLDER}/{missing[0]} is missing")
    return assemble(slots, labels)


def assemble(slots, labels):
    """Images from the filled slots [6, 10000, 3072]: a view of full batches, a copy of smaller ones."""
    parts = [slots[number, :len(labels[name])] for number, name in enumerate(TRAIN_BATCHES)]
    full = all(len(part) == BATCH_ROWS for part in parts)
    train = slots[:-1] if full else np.concatenate(parts)
    test = slots[-1, :len(labels[TEST_BATCH])]
    return Images(
        train.reshape(-1, 3, 32, 32), np.concatenate([labels[name] for name in TRAIN_BATCHES]),
        test.reshape(-1, 3, 32, 32), labels[TEST_BATCH],
    )


# ---------------------------------------------------------------- the tar file

class BoundedReader:
    """A stream that stops giving once it has given too much."""

    def __init__(self, stream, most):
        self.stream, self.left = stream, most

    def read(self, size):
        block = self.stream.read(min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {MAX_UNPACKED // 2**20} MB")
        return block


def members(path):
    """Yield (name, bytes) of the CIFAR-10 files in the archive, in one pass; nothing is written to the disk.

    A member outside cifar-10-batches-py is skipped, wherever its name points. So are tar's extended headers, which
    tarfile would hold in memory at any size: CIFAR-10's names are short. The end is read too, for gzip's checksum.
    """
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_BATCHES, TEST_BATCH, META)}
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = BoundedReader(gzip.GzipFile(fileobj=raw) if zipped else raw, MAX_UNPACKED)
        while True:
            header = stream.read(HEADER)
            if not header.strip(b"\0"):
                break
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            name = wanted.pop(posixpath.normpath(member.name), None) if member.isreg() else None
            if not 0 <= member.size <= MAX_MEMBER:
                raise tarfile.ReadError(f"a file in it is larger than {MAX_MEMBER // 2**20} MB")
            size = 0 if member.type in WITHOUT_CONTENT else member.size
            blob = stream.read(size)
            if len(blob) < size:
                raise tarfile.ReadError("unexpected end of data")
            if name is not None:
                yield name, blob
            stream.read(-size % HEADER)
        while stream.read(2**20):
            continue


# ---------------------------------------------------------------- a pickled batch

class Short(reprlib.Repr):
    """A repr that takes neither long nor much memory, whatever it shows."""

    def repr_bytes(self, value, level):
        return self.repr_str(value, level)

    def repr_int(self, value, level):
        return repr(value) if abs(value) < 10**30 else "too large to show"


def short(value):
    """What a file holds, in at most 100 characters."""
    return Short().repr(value)[:100]


class Inert:
    """Stands for whatever a pickle asks to build: it keeps the arguments and the state, and nothing is executed."""

    arguments, state = (), None

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class InertBytes(Inert):
    """Stands for `_codecs.encode(text, "latin1")`, by which Python 3 writes bytes in protocol 2."""

    arguments = ("",)  # as long as a pickle makes one without calling it

    def __init__(self, text, encoding):
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"encoding {short(encoding)}")
        super().__init__(text)


class BatchUnpickler(pickle.Unpickler):
    """Unpickles what a batch holds, as inert parts; every other name is refused, and none is imported.

    numpy's own functions are no safer: an array of objects whose dtype denies it takes any bytes for pointers.
    """

    STAND_INS = {
        "numpy.core.multiarray._reconstruct": Inert,
        "numpy._core.multiarray._reconstruct": Inert,  # as numpy 2 writes it
        "numpy.ndarray": Inert,
        "numpy.dtype": Inert,
        "_codecs.encode": InertBytes,
    }

    def find_class(self, module, name):
        stand_in = self.STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {short(f'{module}.{name}')}, which no batch needs")
        return stand_in


def as_bytes(value):
    """The bytes that an InertBytes stands for; any other value as it is."""
    return value.arguments[0].encode("latin1") if isinstance(value, InertBytes) else value


def check_opcodes(blob):
    """Refuse a pickle of more parts than a batch has: it would crash pickle, or fill the memory (by its memo)."""
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(blob)):
        tuples += opcode.name in TUPLE_OPCODES
        index = argument if opcode.name in PUT_OPCODES else 0
        if max(number, index) > MAX_OPCODES or tuples > MAX_TUPLES:
            raise pickle.UnpicklingError("it has more parts than a batch")


def unpickle(blob, where):
    """The dict in a pickled batch, its keys as str; UserError where it is anything else."""
    try:
        check_opcodes(blob)
        content = BatchUnpickler(io.BytesIO(blob), encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it holds no dict")
        plain = ((as_bytes(key), value) for key, value in content.items())
        return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in plain}
    except Stopped:
        raise
    except Exception as error:  # a damaged pickle may raise anything at all
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{where} is not a pickled CIFAR-10 batch: {reason}") from error


def batch_pixels(array, where):
    """The pixels of a batch, uint8 [rows, 3072], without a copy; UserError where they are anything else."""
    if not isinstance(array, Inert) or not isinstance(array.state, tuple) or len(array.state) != 5:
        raise UserError(f"{where} has no array of pixels under 'data'")
    _, shape, dtype, by_columns, raw = array.state
    kind = next(iter(getattr(dtype, "arguments", ())), None)
    raw = as_bytes(raw)
    if kind not in ("u1", b"u1") or not isinstance(raw, bytes):
        raise UserError(f"{where} has pixels of type {short(kind)}; CIFAR-10 has 'u1' (uint8)")
    rows = len(raw) // ROW_BYTES
    if shape != (rows, ROW_BYTES) or len(raw) != rows * ROW_BYTES or not 1 <= rows <= BATCH_ROWS:
        raise UserError(f"{where} has pixels of shape {short(shape)}, not ({BATCH_ROWS}, {ROW_BYTES})")
    return np.frombuffer(raw, np.uint8).reshape((rows, ROW_BYTES), order="F" if by_columns else "C")


def batch_labels(labels, rows, where):
    """The labels of a batch, int64 [rows]; UserError where they are anything else."""
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise UserError(f"{where} has no list of whole numbers under 'labels'")
    if len(labels) != rows:
        raise UserError(f"{where} has {len(labels)} labels for {rows} images")
    wrong = [label for label in labels if not 0 <= label < len(CLASSES)]
    if wrong:
        raise UserError(f"{where} has a label {short(wrong[0])}; CIFAR-10 has 0 to {len(CLASSES) - 1}")
    return np.array(labels, np.int64)


def check_classes(content, where):
    """UserError where the archive's class names are not CIFAR-10's, in its order."""
    names = content.get("label_names")
    plain = [as_bytes(name) for name in names] if isinstance(names, list) else names
    if plain not in (list(CLASSES), [name.encode() for name in CLASSES]):
        raise UserError(f"{where} names other classes than CIFAR-10's: {short(plain)}")
