"""Several workers against one: real processes, started by utils/parallel/launch.py and by Paddle's own launcher."""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from conftest import ROOT
from utils.errors import Stopped, UserError
from utils.parallel import launch, workers

PROGRAM = str(Path(__file__).parent / "rank_program.py")
OF_TWO = {"PADDLE_TRAINER_ID": "0", "PADDLE_TRAINERS_NUM": "2", "PADDLE_LOCAL_SIZE": "2",
          "PADDLE_MASTER": "127.0.0.1:1"}  # variables of worker 0 of two on this machine
LAUNCHER = ["-m", "paddle.distributed.launch", "--log_level", "WARNING", "--log_dir"]


@pytest.fixture(scope="module", autouse=True)
def no_launcher_around():
    """Tests that are themselves started by a launcher would be its workers."""
    assert "PADDLE_TRAINERS_NUM" not in os.environ


def begin(folder, *options, before=(), **more):
    """Start rank_program.py in a folder of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, *before, PROGRAM, str(folder), *options], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def finish(process, status=0, seconds=180):
    """Wait for a process; returns (standard output, standard error)."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == status, out + err
    return out, err


def results(folder, rank):
    with np.load(folder / f"{rank}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def same(first, second, shelf):
    """Names of a shelf's variables that two workers hold the same to the bit, and of the others."""
    names = [name for name in first if name.startswith(shelf)]
    equal = {name.split()[1] for name in names if first[name].tobytes() == second[name].tobytes()}
    return equal, {name.split()[1] for name in names} - equal


@pytest.fixture(scope="module")
def alone_and_two(tmp_path_factory):
    """641 pictures in batches of 128, so that the last batch is one picture, by one worker and by two."""
    folder = tmp_path_factory.mktemp("alone-and-two")
    alone, two = begin(folder / "alone"), begin(folder / "two", "workers=2", "save=3")
    out, _ = finish(two)
    finish(alone)
    return results(folder / "alone", 0), results(folder / "two", 0), results(folder / "two", 1), out, folder / "two"


def test_two_workers_hold_the_same_weights_to_the_bit(alone_and_two):
    _, rank_0, rank_1, *_ = alone_and_two
    equal, differing = same(rank_0, rank_1, "after")
    assert not differing and len(equal) == 4 + 4 * 4  # weights, and Adam's four variables each
    assert (rank_0["after fc_0.w_0"] != rank_0["drawn fc_0.w_0"]).any()


def test_two_halves_train_like_one_whole(alone_and_two):
    alone, rank_0, *_ = alone_and_two
    assert len(alone["costs"]) == 6 and np.ptp(alone["costs"]) > 0.01
    np.testing.assert_allclose(rank_0["costs"], alone["costs"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(rank_0["after fc_0.w_0"], alone["after fc_0.w_0"], rtol=0, atol=1e-5)


def test_each_picture_is_seen_once(alone_and_two):
    _, rank_0, rank_1, *_ = alone_and_two
    assert sorted([*rank_0["seen"], *rank_1["seen"]]) == list(range(641))
    assert {len(rank_0["seen"]), len(rank_1["seen"])} == {320, 321}  # one was idle in the last step


def test_only_rank_0_speaks_and_is_heard(alone_and_two):
    _, rank_0, rank_1, out, _ = alone_and_two
    assert re.findall(r"worker (\d) step", out) == ["0"] * 6
    assert rank_0["received"] == rank_1["received"] == "[3, 'three']"
    for worker in (rank_0, rank_1):
        np.testing.assert_array_equal(worker["total"], [[0.1 + 1.1, 2.0 * 10 ** 9]])


def test_workers_stand_on_cores_of_their_own(alone_and_two):
    _, rank_0, rank_1, *_ = alone_and_two
    cores = launch.usable_cores()
    shared = set(rank_0["cores"]) & set(rank_1["cores"])
    assert shared == (set() if len(cores) > 1 else set(cores))


def test_they_share_memory(alone_and_two):
    alone, rank_0, rank_1, *_ = alone_and_two
    assert (rank_0["is_shared"], rank_1["is_shared"], alone["is_shared"]) == (True, True, False)


def saved(folder):
    """Which workers of a run have saved, and after which step."""
    return sorted(path.name for path in folder.glob("saved-*"))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The same run by Paddle's launcher, whose workers sum over gloo: its folder."""
    folder = tmp_path_factory.mktemp("launched")
    finish(begin(folder / "out", "save=3", before=[*LAUNCHER, str(folder / "log"), "--nproc_per_node", "2"]))
    return folder / "out"


@pytest.mark.slow
def test_over_gloo_the_numbers_are_the_same(alone_and_two, launched):
    _, *with_memory, _, folder = alone_and_two
    assert saved(launched) == saved(folder) == ["saved-0-after-3", "saved-1-after-3"]
    for rank, shared in enumerate(with_memory):
        without = results(launched, rank)
        assert not without.pop("is_shared")
        assert without and [name for name in without if shared[name].tobytes() != without[name].tobytes()] == []


@pytest.mark.slow
def test_a_container_with_a_small_dev_shm_shares_memory_too(tmp_path):
    small = "mount -t tmpfs -o size=64k tmpfs /dev/shm && df /dev/shm && exec \"$@\""
    command = ["unshare", "--mount", "sh", "-c", small, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("another /dev/shm is mounted for the test, which needs `unshare` and root")
    done = subprocess.run([*command, sys.executable, PROGRAM, str(tmp_path), "workers=2", "count=130"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert " 64 " in done.stdout and results(tmp_path, 1)["is_shared"]


@pytest.mark.slow
def test_three_workers_hold_the_same_weights_to_the_bit(tmp_path):
    """And so does one that has no picture in the last step."""
    finish(begin(tmp_path, "workers=3", "count=130", "norm=1", "seeds=1"))
    first, *others = (results(tmp_path, rank) for rank in range(3))
    assert first["is_shared"] and all(same(first, other, "after")[1] == set() for other in others)
    assert all(other["costs"].tobytes() == first["costs"].tobytes() for other in others)


class Listener:
    """In the place of a SharedBlock: keeps what it gets to add up."""

    def __init__(self):
        self.got = []

    def sum(self, arrays, _weights):
        self.got.append([array.copy() for array in arrays])


def test_gradients_in_onednns_order_are_put_right_before_the_sum():
    """A network with an op that channels_last.py does not know keeps its order, and oneDNN has the gradients in its."""
    import paddle

    if not paddle.base.core.is_compiled_with_mkldnn():
        pytest.skip("this Paddle has no oneDNN")
    paddle.enable_static()
    names = [f"{name}@GRAD" for name in ("conv2d_0.w_0", "conv2d_1.w_0", "fc_0.w_0")]

    def train(team, fetched):
        main, startup, metrics = convolution(paddle, team)
        for op in main.global_block().ops:
            if op.type in ("conv2d", "conv2d_grad"):
                op._set_attr("use_mkldnn", True)
        team.place = paddle.CPUPlace()
        team.executor, scope = paddle.static.Executor(team.place), paddle.static.Scope()
        paddle.seed(3)
        team.executor.run(startup, scope=scope)
        rng = np.random.default_rng(1)
        feed = {"x": rng.normal(size=(8, 3, 8, 8)).astype("float32"), "y": rng.integers(0, 4, (8, 1))}
        return [team.executor.run(main, feed=feed, fetch_list=metrics + fetched, scope=scope) for _ in range(3)]

    team = workers.Workers(OF_TWO)
    team.block = Listener()
    with ThreadPoolExecutor(1) as pool:  # a thread of its own: Paddle keeps oneDNN's order for each
        alone = pool.submit(train, workers.Workers({}), names).result()
        listened = pool.submit(train, team, []).result()
    for step, (cost, _, *gradients) in enumerate(alone):
        assert listened[step][0].item() == pytest.approx(cost.item(), rel=1e-6)
        for gradient in gradients:
            assert any(array.size == gradient.size and np.allclose(array, gradient.ravel(), rtol=1e-4, atol=1e-7)
                       for array in team.block.got[step])
    assert alone[0][0] - alone[2][0] > 0.01


def convolution(paddle, team):
    """Two convolutions on x [N, 3, 8, 8] and y [N, 1], Adam: (main, startup, what a step fetches)."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data("x", [None, 3, 8, 8], "float32")
        y = paddle.static.data("y", [None, 1], "int64")
        maps = paddle.static.nn.conv2d(paddle.static.nn.conv2d(x, 16, 3), 16, 3)
        probabilities = paddle.static.nn.fc(paddle.mean(maps, [2, 3]), 4, activation="softmax")
        costs = paddle.nn.functional.cross_entropy(probabilities, y, reduction="none", use_softmax=False)
        optimizer, cost = paddle.optimizer.Adam(0.01), paddle.mean(costs)
        gradients, metrics = team.sum(optimizer.backward(cost), [cost, paddle.static.accuracy(probabilities, y)])
        optimizer.apply_gradients(gradients)
    return main, startup, metrics


@pytest.mark.slow
def test_paddles_launcher_starts_them_too(tmp_path):
    """And: weights copied from rank 0, batch normalization's running statistics averaged."""
    finish(begin(tmp_path / "out", "norm=1", "seeds=1", "count=130",
                 before=[*LAUNCHER, str(tmp_path / "log"), "--nproc_per_node", "2"]))
    rank_0, rank_1 = results(tmp_path / "out", 0), results(tmp_path / "out", 1)
    assert {"fc_0.w_0", "fc_1.w_0"} <= same(rank_0, rank_1, "drawn")[1]  # different weights at first
    statistics = {"batch_norm_0.w_1", "batch_norm_0.w_2"}
    assert same(rank_0, rank_1, "before")[1] == statistics
    assert same(rank_0, rank_1, "after")[1] == set()
    for name in statistics:
        mean = (rank_0[f"before {name}"] + rank_1[f"before {name}"]) / 2
        np.testing.assert_allclose(rank_0[f"after {name}"], mean, rtol=1e-6)
        for worker in (rank_0, rank_1):  # each got its own back
            np.testing.assert_array_equal(worker[f"restored {name}"], worker[f"before {name}"])


BARE = """
import os, pathlib
for name in ("memfd_create", "sched_setaffinity", "sched_getaffinity"):
    delattr(os, name)
pathlib.Path(__file__).with_name(f"{os.environ.get('PADDLE_TRAINER_ID')} was here").touch()
"""


@pytest.mark.slow
def test_train_py_ends_the_same_under_paddles_launcher_by_itself_and_on_a_system_that_has_less(small_archive, tmp_path):
    """The last batch of 500 pictures is one of 4; the test pass is shared out too."""
    from utils.storage import checkpoint

    arguments = ["--depth", "8", "--batch-size", "62", "--epochs", "1", "--seed", "3", "--device", "cpu",
                 "--data-file", str(small_archive), "--model-dir"]
    (tmp_path / "sitecustomize.py").write_text(BARE, encoding="ascii")
    launcher = [*LAUNCHER, str(tmp_path / "log"), "--nproc_per_node", "2"]
    for folder, before, more in (("launched", launcher, {}), ("alone", [], {}), ("bare", [], {"PYTHONPATH": tmp_path})):
        own = [] if before else ["--workers", "2"]
        subprocess.run([sys.executable, *before, str(ROOT / "train.py"), *arguments, str(tmp_path / folder), *own],
                       cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=180, env={**os.environ, **more})
    assert {path.name[0] for path in tmp_path.glob("* was here")} == {"N", "0", "1"}  # the watcher, which is no worker
    launched, *others = (checkpoint.read(tmp_path / name / "checkpoint.npz") for name in ("launched", "alone", "bare"))
    for other in others:
        assert launched.progress["history"] == other.progress["history"]
        for name, array in other.arrays.items():
            assert np.array_equal(array, launched.arrays[name]), name


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="images are shared on Linux")
def test_workers_have_one_copy_of_the_images(small_archive, tmp_path):
    """Both have the same file in sight, and may only read it."""
    options = ["--depth", "8", "--batch-size", "50", "--epochs", "500", "--device", "cpu", "--workers", "2",
               "--data-file", str(small_archive), "--model-dir", str(tmp_path / "model")]
    process = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *options], stdout=subprocess.PIPE, text=True)
    assert any(line.startswith("Pass 0, Batch 0") for line in process.stdout)
    pages = []
    for worker in psutil.Process(process.pid).children():
        lines = [line.split() for line in Path(f"/proc/{worker.pid}/maps").read_text(encoding="utf-8").splitlines()]
        pages += [(words[1], words[4]) for words in lines if words[5:] and words[5].endswith(".npy")]
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    assert len(pages) == 2 and len(set(pages)) == 1 and pages[0][0] == "r--s"


def test_ctrl_c_stops_all_after_the_same_step(tmp_path):
    process = begin(tmp_path, "workers=2", "slow=0.2", "count=20000")
    for line in process.stdout:
        if line.startswith("worker 0 step 1"):
            break
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    stops = sorted(path.name.split("-") for path in tmp_path.glob("stopped-*"))
    assert [stop[1] for stop in stops] == ["0", "1"] and stops[0][3] == stops[1][3]


@pytest.fixture
def two_machines():
    """Two network namespaces joined by a cable, as commands that run a program there: ([...], [...])."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("two machines are made of network namespaces, which needs `ip` (iproute2) and root")
    names = [f"chapter{os.getpid()}{side}" for side in "ab"]
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")

    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    try:
        ip("netns", "add", names[1])
        ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "wire", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.211.5.{number}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_a_machine_without_loopback_has_workers_too(two_machines, tmp_path):
    subprocess.run([*two_machines[0], "ip", "link", "set", "lo", "down"], check=True)
    done = subprocess.run([*two_machines[0], sys.executable, PROGRAM, str(tmp_path), "workers=2", "count=128"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and results(tmp_path, 1)["is_shared"], done.stderr


def step_1_of(process):
    """Wait until a run is in its second step."""
    assert any(line.startswith("worker 0 step 1") for line in process.stdout)


def test_nothing_listens(tmp_path):
    process = begin(tmp_path, "workers=2", "slow=0.1", "count=20000")
    step_1_of(process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    sockets = [each for member in family for each in member.net_connections("inet")]
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    assert len(family) == 3 and sockets == []


def test_a_worker_that_was_stopped_takes_part_in_the_saving(tmp_path):
    process = begin(tmp_path, "workers=2", "slow=0.1", "count=20000")
    step_1_of(process)
    psutil.Process(process.pid).children()[1].suspend()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    finish(process, 143, seconds=15)
    stops = sorted(path.name.split("-") for path in tmp_path.glob("stopped-*"))
    assert [stop[1] for stop in stops] == ["0", "1"] and stops[0][3] == stops[1][3]


def test_a_stopped_worker_and_a_killed_launcher_leave_nobody_behind(tmp_path):
    """Rank 0 hears of the launcher's end while it waits, and looks for it."""
    process = begin(tmp_path, "workers=2", "silence=1", "slow=0.1", "count=20000")
    step_1_of(process)
    workers = psutil.Process(process.pid).children()
    workers[1].suspend()
    process.kill()
    gone, _ = psutil.wait_procs(workers[:1], timeout=20)
    workers[1].kill()
    process.communicate()
    assert gone == workers[:1]


@pytest.mark.slow
def test_workers_end_with_paddles_launcher(tmp_path):
    process = begin(tmp_path / "out", "slow=0.1", "count=20000",
                    before=[*LAUNCHER, str(tmp_path / "log"), "--nproc_per_node", "2"])
    log = tmp_path / "log" / "workerlog.0"
    while not (log.exists() and "step 1" in log.read_text()):
        time.sleep(0.2)
        assert process.poll() is None
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert len(gone) >= 2 and not alive
    process.communicate()


class Silent:
    """In the place of Paddle's store: one that a stranger keeps busy."""

    @staticmethod
    def add(*_):
        time.sleep(20)


def test_waiting_for_other_machines_is_said_and_hears_signals(monkeypatch, capsys):
    monkeypatch.setattr(workers, "SILENCE", 0)
    team = workers.Workers({"PADDLE_TRAINERS_NUM": "2", "PADDLE_MASTER": "10.0.0.1:6170"})
    team.helper, team.store = workers.ThreadPool(1), Silent
    with launch.signals_to(team.interrupts.hear):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(Stopped):  # before training
            team.barrier()
        timer.join()
        team.interrupts.holds = True  # as while it trains: it has to end all the same
        with pytest.raises(Stopped, match="^Stopped while waiting for the other workers, which meet at 10.0.0.1:6170$"):
            team.barrier()
    assert capsys.readouterr().out == "Waiting for the other workers, which meet at 10.0.0.1:6170\n"
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(UserError, match="waited 1 s for the other workers, which meet at 10.0.0.1:6170"):
        team.barrier()


def begin_on(machine, number, folder, *options):
    """Start Paddle's launcher with one worker on machine 0 or 1."""
    folder.mkdir()
    command = [*machine, sys.executable, *LAUNCHER, str(folder / "log"), "--nproc_per_node", "1",
               "--nnodes", "2", "--rank", str(number), "--host", f"10.211.5.{number + 1}",
               "--master", "10.211.5.1:6170"]
    return subprocess.Popen([*command, PROGRAM, str(folder), *options], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_two_machines(two_machines, tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    options = "norm=1", "seeds=1", "count=130"
    for process in [begin_on(two_machines[n], n, folders[n], *options) for n in (0, 1)]:
        finish(process)
    first, second = results(folders[0], 0), results(folders[1], 1)
    assert same(first, second, "after")[1] == set() and same(first, second, "before")[1]


@pytest.mark.slow
def test_a_worker_killed_on_the_other_machine_ends_the_run_here(two_machines, tmp_path):
    first, second = [begin_on(two_machines[n], n, tmp_path / "ab"[n], "kill=1") for n in (0, 1)]
    second.wait(180)
    began = time.monotonic()
    out, err = first.communicate(timeout=60)
    second.communicate()
    assert first.returncode not in (0, None) and time.monotonic() - began < 15
    assert "lost the other workers" in out + err


@pytest.mark.slow
def test_a_pulled_cable_ends_the_run(two_machines, tmp_path):
    processes = [begin_on(two_machines[n], n, tmp_path / "ab"[n], "slow=0.2", "count=200000") for n in (0, 1)]
    while not any("step 2" in path.read_text() for path in tmp_path.glob("a/log/workerlog.0")):
        time.sleep(0.2)
        assert processes[0].poll() is None
    subprocess.run([*two_machines[1], "ip", "link", "set", "wire", "down"], check=True)
    began = time.monotonic()
    texts = ["".join(process.communicate(timeout=120)) for process in processes]
    assert time.monotonic() - began < 50  # gloo's 30 s, then the launcher's own
    assert all("lost the other workers" in text for text in texts)


@pytest.mark.slow
def test_rank_0_may_be_busy_alone_for_longer_than_gloo_waits(tmp_path):
    finish(begin(tmp_path, "alone=40", "count=128", before=[*LAUNCHER, str(tmp_path / "log"), "--nproc_per_node", "2"]))
    assert (tmp_path / "1.npz").exists()


@pytest.mark.slow
def test_a_worker_that_sleeps_for_40_seconds_does_not_end_the_run(tmp_path):
    process = begin(tmp_path, "workers=2", "slow=0.5", "count=3000")
    step_1_of(process)
    other = psutil.Process(process.pid).children()[1]
    other.suspend()
    time.sleep(40)
    other.resume()
    out, _ = finish(process)
    assert out.count("Still waiting: worker 1 did not answer for 30 s") == 1


def shares_of(batch, world):
    """Each worker's share of a batch, and what it weighs."""
    team = [workers.Workers({**OF_TWO, "PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": str(world)})
            for rank in range(world)]
    return [(worker.share_of(batch), worker.weight) for worker in team]


@pytest.mark.parametrize("count, world", [(128, 1), (128, 2), (80, 3), (5, 8), (1, 2), (128, 7)])
def test_shares_are_the_batch(count, world):
    batch = np.random.default_rng(count).permutation(1000)[:count]
    shares = shares_of(batch, world)
    assert sorted(index for part, weight in shares for index in part if weight) == sorted(batch)
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    sizes = [len(part) for part, weight in shares if weight]
    assert max(sizes) - min(sizes) <= 1 and all(len(part) for part, _ in shares)


def test_weighted_means_of_shares_are_the_mean():
    values = np.random.default_rng(3).normal(size=80)
    shares = shares_of(np.arange(80), 3)
    assert sum(values[part].mean() * weight for part, weight in shares) == pytest.approx(values.mean())


def test_alone_without_a_launcher():
    with workers.Workers({}) as alone:
        alone.connect(None)
        alone.barrier()
        assert (alone.rank, alone.world) == (0, 1)
        assert alone.broadcast(5) == 5 and list(alone.all_reduce([1, 2])) == [1, 2]
        assert alone.share_of([3, 4]) == [3, 4] and list(alone.part_of(3)) == [0, 1, 2]
        assert alone.agreement() == (None, False)
        alone.wants_to_save, alone.interrupts.signal = lambda: True, signal.SIGTERM
        assert alone.agreement() == (signal.SIGTERM, True)


@pytest.mark.parametrize("address", [
    {"PADDLE_MASTER": "10.0.0.1:6170", "PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:7000,10.0.0.2:7001"},
    {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:6170,10.0.0.2:7001"},
])
def test_environment_of_paddles_launcher(address):
    team = workers.Workers({"PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2", **address})
    assert (team.rank, team.world, team.meeting_point) == (1, 2, ("10.0.0.1", 6170))


def test_half_an_environment_is_refused():
    with pytest.raises(UserError, match="PADDLE_MASTER"):
        workers.Workers({"PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2"})
    with pytest.raises(UserError, match="^the environment variable PADDLE_TRAINERS_NUM is 'abc', not a number"):
        workers.Workers({"PADDLE_TRAINERS_NUM": "abc"})
