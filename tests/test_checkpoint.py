"""A checkpoint holds what a run needs to go on, is read without trusting it, and fits only its own network."""
import pickle

import numpy as np
import pytest

from utils.errors import UserError
from utils.storage import checkpoint, program_state
from utils.storage.checkpoint import Checkpoint

SAVED = Checkpoint({"w/0.b@x": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array([7])},
                   {"seed": 1, "model": "resnet", "data_file": None},
                   {**checkpoint.beginning(), "epoch": 2, "batch": 5},
                   np.array([[0.25], [0.5]]))


def test_what_is_written_is_read(tmp_path):
    checkpoint.write(tmp_path / "checkpoint.npz", SAVED)
    read = checkpoint.read(tmp_path / "checkpoint.npz")
    assert read.settings == SAVED.settings and read.progress == SAVED.progress
    assert (read.statistics == SAVED.statistics).all()
    head = checkpoint.read(tmp_path / "checkpoint.npz", whole=False)
    assert (head.arrays, head.settings, head.progress) == ({}, SAVED.settings, SAVED.progress)
    assert set(read.arrays) == set(SAVED.arrays)
    for name, array in SAVED.arrays.items():
        assert read.arrays[name].dtype == array.dtype and (read.arrays[name] == array).all()


@pytest.mark.parametrize("keep", [0, 10, 400, 0.5, 0.99])
def test_a_cut_file_is_one_line(tmp_path, keep):
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, SAVED)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(keep if keep > 1 or keep == 0 else len(whole) * keep)])
    with pytest.raises(UserError, match="damaged") as caught:
        checkpoint.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, SAVED)
    content = bytearray(path.read_bytes())
    position = content.find(np.arange(6, dtype=np.float32).tobytes())
    content[position + 5] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(path)


def read_flipped(path, whole, place, bit):
    """What a checkpoint with one bit flipped is read as; None where one line says that it is damaged."""
    content = bytearray(whole)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    try:
        return checkpoint.read(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and "damaged" in str(error)
    return None


@pytest.mark.parametrize("behind, bit", [(8, 0), (10, 0), (10, 3), (24, 0), (42, 7), (28, 6)])
def test_a_bit_flipped_in_the_list_of_members_is_one_line(tmp_path, behind, bit):
    """Places behind the signature: flags (encrypted), method, size, offset, length of the name."""
    checkpoint.write(tmp_path / "checkpoint.npz", SAVED)
    whole = (tmp_path / "checkpoint.npz").read_bytes()
    assert read_flipped(tmp_path / "checkpoint.npz", whole, whole.find(b"PK\1\2") + behind, bit) is None


def test_a_member_that_a_flipped_bit_renames_is_missed(tmp_path):
    """In the list of members alone: the statistics of the workers, which a checkpoint need not have."""
    checkpoint.write(tmp_path / "checkpoint.npz", SAVED)
    whole = (tmp_path / "checkpoint.npz").read_bytes()
    assert read_flipped(tmp_path / "checkpoint.npz", whole, whole.rfind(b"statistics"), 1) is None


@pytest.mark.slow
def test_no_flipped_bit_is_a_traceback_or_another_run(tmp_path):
    """A few hundred: all bits of the lists of members, and some of the rest."""
    checkpoint.write(tmp_path / "checkpoint.npz", SAVED)
    whole = (tmp_path / "checkpoint.npz").read_bytes()
    first, rng = whole.find(b"PK\1\2"), np.random.RandomState(0)
    for place in [*range(first, len(whole)), *rng.randint(0, first, 300)]:
        for bit in rng.permutation(8)[:2]:
            read = read_flipped(tmp_path / "checkpoint.npz", whole, place, bit)
            if read:  # what differs are dates and permissions of members
                assert (read.settings, read.progress) == (SAVED.settings, SAVED.progress)
                assert (read.statistics == SAVED.statistics).all() and read.arrays.keys() == SAVED.arrays.keys()
                assert all((read.arrays[name] == SAVED.arrays[name]).all() for name in read.arrays)


class Hostile:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_a_hostile_checkpoint_runs_no_code(tmp_path):
    path, target = tmp_path / "checkpoint.npz", tmp_path / "was-here"
    np.savez(path, head=np.array([Hostile(target)], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps(Hostile(target)))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(path)
    assert not target.exists()


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(UserError, match="nothing to resume"):
        checkpoint.read(tmp_path / "checkpoint.npz")


def test_state_goes_out_and_in_and_fits_its_own_network_only(static_scope):
    import paddle

    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [None, 4])
        paddle.optimizer.Adam(0.1).minimize(paddle.mean(paddle.static.nn.fc(x, 3)))
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    scope = paddle.static.global_scope()
    before = program_state.take(main, scope)
    assert len(before) == 2 + 2 * 4  # by hand: weight and bias, two moments and two powers of beta each
    executor.run(main, feed={"x": np.ones((2, 4), np.float32)})
    assert any((before[name] != array).any() for name, array in program_state.take(main, scope).items())
    program_state.put(main, paddle.CPUPlace(), before)
    for name, array in program_state.take(main, scope).items():
        assert (array == before[name]).all()
    for wrong in ({**before, "stranger": np.zeros(1)}, {k: v for k, v in before.items() if "moment" not in k},
                  {k: np.repeat(v, 2) for k, v in before.items()}):
        with pytest.raises(UserError, match="does not fit"):
            program_state.put(main, paddle.CPUPlace(), wrong)


def test_a_damaged_name_is_a_short_line(tmp_path):
    """zipfile's error shows what it has read as a name: here a part of the weights."""
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, SAVED._replace(arrays={"w": np.random.default_rng(1).random(9000)}))
    content = bytearray(path.read_bytes())
    content[content.find(b"v:w.npy") - 3] ^= 0x20  # the length of the name, in the header before it
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged") as caught:
        checkpoint.read(path)
    assert len(str(caught.value)) < 400 + len(str(path))
