"""How train.py starts: workers from a watching process without Paddle, the fast path or Paddle unmodified, signals."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

import train
from conftest import ROOT
from small_runs import QUICK, state
from utils import errors, gpu, start
from utils.errors import UserError
from utils.parallel import launch
from utils.settings import Settings, with_defaults


@pytest.fixture(autouse=True)
def no_container(monkeypatch):
    """As if the suite had no share of the cores, but all."""
    monkeypatch.setattr(launch, "CPU_SHARES", ())


TWO = ["--depth", "8", "--epochs", "1", "--batch-size", "16", "--seed", "1", "--device", "cpu", "--workers", "2"]


def begin(*arguments, **more):
    """Start train.py from a shell."""
    return subprocess.Popen([sys.executable, str(ROOT / "train.py"), *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


def wait_for(process, words):
    """Read what a process prints until it has said something."""
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said: {process.stderr.read()}")


@pytest.mark.parametrize("abbreviation", ["--pla", "--plai", "--res", "--epoch=3"])
def test_there_are_no_abbreviations(abbreviation, capsys):
    assert train.main([abbreviation]) == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_plain_is_plain_from_a_shell_and_from_a_script_and_resumed(run, small_archive, tmp_path):
    """Paddle's own kernels both ways; in a script its flags for speed are set before, which round differently."""
    short = "--epochs", "1", "--recipe", "book", "--seed", "1"
    status, out, _ = run(*short, "--plain", folder="script")
    assert status == 0 and "Speed: plain Paddle (" in out
    shell = begin(*QUICK, *short, "--plain", "--data-file", small_archive, "--model-dir", tmp_path / "shell")
    out, err = shell.communicate()
    assert shell.returncode == 0 and "Speed: plain Paddle (" in out, err
    status, out, _ = run(*short, folder="fast")
    assert "Speed: fast path in float32 (" in out
    fast, plain, shell = (state(tmp_path / name).arrays["conv2d_0.w_0"] for name in ("fast", "script", "shell"))
    assert (fast != plain).any() and abs(fast - plain).max() < 0.02 and abs(shell - plain).max() < 0.02
    status, out, err = run("--resume", "--recipe", "book", "--epochs", "2", folder="script")
    assert status == 0 and "Speed: plain Paddle (" in out, err


@pytest.fixture(scope="module")
def watched(tiny_archive, tmp_path_factory):
    """A run of two workers that was started from a shell: (its folder, its watcher's peak in kB, what that maps)."""
    folder, peak, maps = tmp_path_factory.mktemp("watched"), None, None
    process = begin(*TWO, "--data-file", tiny_archive, "--model-dir", folder)
    wait_for(process, "Pass 0, Batch 0")
    if sys.platform == "linux":
        with open(f"/proc/{process.pid}/status") as status, open(f"/proc/{process.pid}/maps") as mapped:
            peak, maps = int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]), mapped.read()
    _, err = process.communicate()
    assert process.returncode == 0, err
    return folder, peak, maps


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_watching_process_is_small_and_has_no_paddle(watched):
    _, peak, maps = watched
    assert peak < 60_000 and maps and "paddle" not in maps


def test_a_script_that_calls_main_trains_in_its_own_process(tiny_archive, tmp_path):
    """It says "once" a single time; with several workers it is refused in one line, and without a word of them trains.
    """
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport train\nprint('once', flush=True)\n"
                      "sys.exit(train.main(sys.argv[1:]))\n", encoding="utf-8")
    command = [sys.executable, str(script), *TWO, "--data-file", str(tiny_archive), "--model-dir", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "once\n" and done.stderr.count("\n") == 1
    assert "--workers 2, but this start has 1: start train.py from the command line" in done.stderr
    place = command.index("--workers")
    done = subprocess.run(command[:place] + command[place + 2:], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1 and "workers: 1" in done.stdout


@pytest.mark.slow
def test_networks_of_other_shapes_after_each_other(run):
    for extra in (["--depth", "8"], ["--depth", "14"], ["--depth", "8", "--recipe", "strong"]):
        status, _, err = run(*extra, "--seed", "1", "--epochs", "1", "--max-batches", "1",
                             folder="-".join(extra).replace("--", ""))
        assert status == 0, err


MOMENTS = (0.15, 0.5, 1, 1.6, 2.2, 3)  # seconds: import of Paddle, building, connecting, loading


@pytest.mark.parametrize("number, workers, moments", [
    (signal.SIGINT, 1, MOMENTS[1:4:2]), (signal.SIGTERM, 2, MOMENTS[2:3]),
    pytest.param(signal.SIGINT, 1, MOMENTS, marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, 2, MOMENTS, marks=pytest.mark.slow)])
def test_a_signal_before_the_first_batch_ends_in_one_line(number, workers, moments, small_archive, tmp_path):
    """A status and no traceback at each of the moments."""
    for moment in moments:
        process = begin(*TWO[:-1], workers, "--data-file", small_archive, "--model-dir", tmp_path / str(moment),
                        start_new_session=True)
        time.sleep(moment)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (128 + number, -number, 0), (moment, err)  # -n is a shell's 128 + n too
        assert "Traceback" not in err and err.count("\n") <= 1, (moment, err)


def test_too_many_workers_are_refused_in_one_line(tmp_path):
    _, err = (process := begin("--workers", "500", "--model-dir", tmp_path)).communicate()
    assert process.returncode == 2 and len(err.splitlines()) == 1
    assert f"--workers 500: at most {min(8 * len(launch.usable_cores()), 128)} here" in err


def test_a_worker_does_not_outlive_a_watcher_that_was_killed_before_it_asked(monkeypatch):
    ended = []
    monkeypatch.setattr(launch.os, "_exit", ended.append)
    monkeypatch.setattr(launch, "LIBC", type("Libc", (), {"prctl": staticmethod(lambda *_: 0)}))
    try:
        launch.end_with_parent(os.getppid())
        assert ended == []
        launch.end_with_parent(os.getppid() + 1)
        assert ended == [128 + signal.SIGTERM]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, errors.STOP_SIGNALS)


def test_no_folder_for_temporary_files_is_said(monkeypatch):
    def no_folder():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(launch.tempfile, "TemporaryFile", no_folder)
    with pytest.raises(UserError, match="set TMPDIR"):
        launch.start_workers([sys.executable, "-c", ""], 2)


def test_windows_has_one_process(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UserError, match="--workers 2: on Windows one process trains"):
        start.count_of_workers(with_defaults(Settings(workers=2, device="cpu")))
    assert start.count_of_workers(with_defaults(Settings(workers=1, device="cpu"))) == 1


@pytest.mark.parametrize("given, steps", [
    ({}, 2 * 391), ({"epochs": 1, "max_batches": 20}, 20), ({"epochs": 4, "data_dir": "pictures"}, 4 * 10),
])
def test_a_small_job_has_fewer_workers(given, steps, tmp_path, monkeypatch):
    """On 16 cores about the root of its steps, and two at least; what CIFAR-10 takes has all cores."""
    monkeypatch.chdir(tmp_path)
    for number in range(400):
        path = tmp_path / "pictures" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(start.launch, "usable_cores", lambda: list(range(16)))
    monkeypatch.setattr(start.launch, "core_share", lambda: 16)
    monkeypatch.setattr(start.launch, "memory_limit", lambda: 64 << 10)
    settings = with_defaults(Settings(device="cpu", **given))
    assert start.count_of_workers(settings) == min(16, settings.batch_size // 8, round(steps ** 0.5))
    one_step = with_defaults(Settings(device="cpu", epochs=1, max_batches=1))
    assert start.count_of_workers(one_step) == 2


@pytest.mark.parametrize("folder, words", [("stopped", "; resume with: python train.py --resume --model-dir "),
                                           ("finished", "; there is nothing to resume"),
                                           (None, "; there is nothing to resume")])
def test_the_line_about_a_failed_worker_says_how_to_go_on(folder, words, request, tmp_path, monkeypatch):
    """It is asked for after the failure: what the run has left in its folder by then counts."""
    said, folder = [], folder and request.getfixturevalue(folder)

    def fail(command, count, advice):
        if folder:
            shutil.copytree(folder, tmp_path / "new")
        said.append(advice())
        return 1

    monkeypatch.setattr(start.launch, "start_workers", fail)
    monkeypatch.setattr("utils.settings.pass_on", lambda settings: None)
    assert start.begin_run(["--model-dir", str(tmp_path / "new"), "--workers", "2", "--device", "cpu"]) == 1
    assert said[0].startswith(words)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers as Linux starts them")
def test_a_killed_worker_is_one_line_that_says_how_to_resume(small_archive, tmp_path):
    process = begin(*TWO[:-4], "--epochs", 500, "--device", "cpu", "--workers", 2, "--data-file", small_archive,
                    "--model-dir", tmp_path / "model")
    wait_for(process, "Test with Pass 1")
    psutil.Process(process.pid).children()[1].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 137 and err.count("\n") == 1
    assert err.startswith("train.py: error: worker 1 was ended by signal 9, SIGKILL, perhaps because memory ran out (")
    assert err.endswith(f"resume with: python train.py --resume --model-dir {tmp_path / 'model'}\n")


def test_without_a_driver_no_device_is_tried(monkeypatch):
    monkeypatch.setattr(start.flags, "has_driver", lambda: False)
    monkeypatch.setattr(start.place, "cuda_failure", None)  # a call would fail
    assert not start.is_for_gpu(Settings())


@pytest.mark.parametrize("answer, works, reason", [
    (f"print('Paddle says hello'); print(); print('{gpu.REASON}no memory left')", False, "no memory left"),
    (f"print('Paddle says hello'); print(); print('{gpu.SAME}')", True, ""),
    ("import os; os.abort()", False, "a training step on CUDA device 0 crashed"),
])
def test_another_process_asks_paddle_once_and_workers_inherit_the_answer(answer, works, reason, monkeypatch):
    monkeypatch.setattr(start.flags, "has_driver", lambda: True)
    monkeypatch.setattr(gpu, "TRIAL", answer)
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    monkeypatch.setenv(start.place.CUDA_FAILURE, "")
    monkeypatch.delenv(start.place.CUDA_FAILURE)
    assert start.is_for_gpu(Settings()) is works
    kept = os.environ[start.place.CUDA_FAILURE]
    assert kept.startswith(reason) and (kept == "") is works
    monkeypatch.setattr(gpu, "failure", None)  # asking again would fail
    assert start.is_for_gpu(Settings()) is works


def test_several_workers_ask_once_whoever_chose_their_number(monkeypatch):
    asked = []
    monkeypatch.setattr(start.flags, "has_driver", lambda: True)
    monkeypatch.setattr(start.place, "cuda_failure", lambda: asked.append(1) or "it does not compute")
    assert start.count_of_workers(with_defaults(Settings(workers=2))) == 2 and asked == [1]
    for settings in (Settings(workers=1), Settings(workers=2, device="cpu")):
        start.count_of_workers(with_defaults(settings))
    assert asked == [1]


@pytest.mark.parametrize("given, count", [
    ({}, 16), ({"depth": 110}, 6), ({"depth": 1202, "batch_size": 16}, 1), ({"model": "vgg"}, 10), ({"depth": -19}, 1),
    ({"model": "airbench", "recipe": "strong", "epochs": 10}, 12),
])
def test_a_larger_network_is_shared_by_fewer_workers(monkeypatch, given, count):
    """With 16 cores and 16 GB. By hand, of depth 110: (0.75 * 16384 - 128 * 0.28 * 110) / (160 + 9.7 * 110) = 6.8."""
    monkeypatch.setattr(start.launch, "usable_cores", lambda: list(range(16)))
    monkeypatch.setattr(start.launch, "memory_limit", lambda: 16 << 10)
    assert start.count_of_workers(with_defaults(Settings(device="cpu", **given))) == count


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_workers_do_not_share_a_gpu(monkeypatch, device):
    monkeypatch.setattr(start.flags, "has_driver", lambda: True)
    monkeypatch.setattr(start.place, "cuda_failure", lambda: None)
    with pytest.raises(UserError, match="--nproc_per_node 2 train.py, or --device cpu"):
        start.count_of_workers(with_defaults(Settings(workers=2, device=device)))
    assert start.count_of_workers(with_defaults(Settings(device=device))) == 1


def test_why_a_gpu_cannot_be_used_is_said_the_same_way_by_auto_and_gpu(run, monkeypatch):
    monkeypatch.setenv(start.place.CUDA_FAILURE, "CUDA device 0 has no memory left: end programs")
    status, out, err = run("--device", "auto", "--epochs", "1", "--max-batches", "1")
    assert status == 0, err
    assert "Place: CPU (CUDA device 0 has no memory left: end programs); Paddle" in out
    status, _, err = run("--device", "gpu", folder="other")
    assert status == 2 and err == ("train.py: error: --device gpu: CUDA device 0 has no memory left: end programs; "
                                   "--device cpu runs here\n")
