"""Every test starts where the scripts start: the project on the path, the engine prepared before Paddle is loaded."""
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import engine  # noqa: E402

engine.prepare()


@pytest.fixture(scope="session")
def cifar10_archive():
    """Path of an archive with real CIFAR-10 pictures, from the environment variable CIFAR10_ARCHIVE."""
    path = os.environ.get("CIFAR10_ARCHIVE")
    if not path:
        pytest.skip("CIFAR10_ARCHIVE is not set: give it the path of a cifar-10-python.tar.gz")
    return Path(path)
