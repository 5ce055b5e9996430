"""Every test starts where the scripts start: the project on the path, the engine prepared before Paddle is loaded."""
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.speed import cpu  # noqa: E402

cpu.set_flags()


@pytest.fixture(scope="session")
def cifar10_archive():
    """Path of an archive with real CIFAR-10 pictures, from the environment variable CIFAR10_ARCHIVE."""
    path = os.environ.get("CIFAR10_ARCHIVE")
    if not path:
        pytest.skip("CIFAR10_ARCHIVE is not set: give it the path of a cifar-10-python.tar.gz")
    return Path(path)


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory):
    """Path of an archive in CIFAR-10's layout with 5 x 100 + 100 drawn pictures: enough for a loop, quick to read."""
    import io
    import pickle
    import tarfile

    from utils.data import sketches

    images, labels = sketches.draw(600, seed=5)
    path = tmp_path_factory.mktemp("data") / "small.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
        for number, name in enumerate(names):
            rows = slice(100 * number, 100 * number + 100)
            blob = pickle.dumps({b"data": images[rows].reshape(100, 3072), b"labels": labels[rows].tolist()}, 2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))
    return path


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A folder with small_models.colour_model, saved as train.py saves."""
    import paddle

    import small_models
    from utils.storage import saved_model

    paddle.enable_static()
    folder = tmp_path_factory.mktemp("model") / "colours"
    with paddle.static.scope_guard(paddle.static.Scope()):
        saved_model.save(folder, *small_models.colour_model(), small_models.describe())
    return folder


@pytest.fixture
def static_scope():
    """A scope of Paddle's own for one test, so that no variable of another test is seen."""
    import paddle

    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        yield
