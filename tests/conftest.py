"""Every test starts where the scripts start: the project on the path, the engine prepared before Paddle is loaded."""
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

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
