"""Every test starts where the scripts start: the project on the path, the engine prepared before Paddle is loaded.

Runs that many tests begin with are trained once in each process of pytest; a test works on a copy of the folder.
"""
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite has a process for each core, and one more

from utils import flags
from utils.errors import STOP_SIGNALS

flags.set_flags()
if "PYTEST_XDIST_WORKER" not in os.environ:  # whose processes, and all that a test starts, inherit it
    CACHE = tempfile.TemporaryDirectory(prefix="cache-of-the-tests-")
    os.environ["IMAGE_CLASSIFICATION_DATA"] = CACHE.name  # never the user's own
for number in STOP_SIGNALS:  # which a suite in the background or under nohup would ignore, and all that it starts
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def cifar10_archive():
    """Path of an archive with real CIFAR-10 pictures, from the environment variable CIFAR10_ARCHIVE."""
    path = os.environ.get("CIFAR10_ARCHIVE")
    if not path:
        pytest.skip("CIFAR10_ARCHIVE is not set: give it the path of a cifar-10-python.tar.gz")
    return Path(path)


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory):
    """Path of an archive in CIFAR-10's layout with 5 x 100 + 100 drawn images: enough for a loop, quick to read."""
    import small_archives
    from utils.data import sketches

    members = small_archives.contents_of(*sketches.draw(600, seed=5))
    return small_archives.write(tmp_path_factory.mktemp("data") / "small.tar.gz", members)


@pytest.fixture
def no_proxies(monkeypatch):
    """An environment that names no proxy: a loopback server is asked directly."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory):
    """As `small_archive`, with 40 + 8 images: for a whole run of three batches of 16."""
    import small_archives
    from utils.data import sketches

    members = small_archives.contents_of(*sketches.draw(48, seed=6))
    return small_archives.write(tmp_path_factory.mktemp("data") / "tiny.tar.gz", members)


@pytest.fixture
def run(small_archive, tmp_path, capfd):
    """Run train.py's main on the small archive; returns (status, printed, errors)."""
    import small_runs
    import train

    def run_main(*extra, folder="model", quick=True):
        arguments = small_runs.QUICK if quick else []
        status = train.main([*arguments, "--data-file", str(small_archive), "--model-dir", str(tmp_path / folder),
                             *extra])
        out = capfd.readouterr()
        return status, out.out, out.err

    return run_main


@pytest.fixture
def full(run, tiny_archive):
    """`run` on all images of the tiny archive, so that it is no quick look."""
    import small_runs

    def run_full(*extra, **options):
        return run(*small_runs.FULL, "--data-file", str(tiny_archive), *extra, quick=False, **options)

    return run_full


def trained_once(factory, *arguments, before_step=None):
    """The folder of a run with seed 1 in this process, and what it said: (status, folder, printed, errors)."""
    import contextlib
    import io

    import small_runs
    import train

    folder = factory.mktemp("trained") / "model"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out, \
            contextlib.redirect_stderr(io.StringIO()) as err:
        if before_step:
            small_runs.before_each_step(patch, before_step)
        status = train.main([*map(str, arguments), "--seed", "1", "--model-dir", str(folder)])
    return status, folder, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def quick_run(small_archive, tmp_path_factory):
    """A finished run of small_runs.QUICK on the small archive: (folder, what it printed). Not to be changed."""
    import small_runs

    status, folder, out, err = trained_once(tmp_path_factory, *small_runs.QUICK, "--data-file", small_archive)
    assert status == 0, err
    return folder, out


@pytest.fixture(scope="session")
def finished_once(tiny_archive, tmp_path_factory):
    """The folder of a finished run of small_runs.FULL on the tiny archive."""
    import small_runs

    status, folder, _, err = trained_once(tmp_path_factory, *small_runs.FULL, "--data-file", tiny_archive)
    assert status == 0, err
    return folder


@pytest.fixture(scope="session")
def stopped_once(small_archive, tmp_path_factory):
    """The folder of a run of small_runs.QUICK that Ctrl-C stopped after one batch."""
    import small_runs

    status, folder, _, err = trained_once(tmp_path_factory, *small_runs.QUICK, "--data-file", small_archive,
                                          before_step=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert status == 130, err
    return folder


@pytest.fixture
def finished(finished_once, tmp_path):
    """The folder of the test's own with a finished run in it, as `full("--seed", "1")` leaves it."""
    return Path(shutil.copytree(finished_once, tmp_path / "model"))


@pytest.fixture
def looked(quick_run, tmp_path):
    """The folder of the test's own with a finished quick look in it, as `run("--seed", "1")` leaves it."""
    return Path(shutil.copytree(quick_run[0], tmp_path / "model"))


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """The folder of the test's own with an unfinished run in it, stopped after one batch."""
    return Path(shutil.copytree(stopped_once, tmp_path / "model"))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A folder with small_models.color_model, saved as train.py saves."""
    import small_models

    folder = tmp_path_factory.mktemp("model") / "colors"
    small_models.save_colors(folder)
    return folder


@pytest.fixture
def static_scope():
    """A scope of Paddle's own for one test, so that no variable of another test is seen."""
    import paddle

    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        yield
