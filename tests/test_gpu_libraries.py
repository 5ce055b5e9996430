"""NVIDIA's libraries as pip installs them: found, linked under Paddle 2's names, and loaded after a restart."""
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import ROOT
from utils import flags, gpu

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="links and the loader are Linux's")
SCRIPT = """
import ctypes, os, sys
sys.path.insert(0, ROOT)
from utils import gpu
gpu.flags.has_driver, gpu.paddle_version = lambda: True, lambda: "2.6.2"
print("started", os.getpid(), sys.argv[1:], sys.dont_write_bytecode, flush=True)
gpu.restart_where_needed()
ctypes.CDLL("libcudnn.so")
print("loaded", flush=True)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site-packages folder in which pip has put cuDNN and cuBLAS, as empty files; a machine with driver and Paddle 2.
    """
    packages = {"cudnn": ["libcudnn.so.8", "libcudnn_ops_infer.so.8"],
                "cublas": ["libcublas.so.11", "libcublasLt.so.11"], "cuda_nvrtc": ["libnvrtc.so.11.2"]}
    for folder, names in packages.items():
        lib = tmp_path / "site" / "nvidia" / folder / "lib"
        lib.mkdir(parents=True)
        for name in names:
            (lib / name).touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(gpu.RESTARTED, raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(gpu, "paddle_version", lambda: "2.6.2")
    monkeypatch.setattr(flags, "is_found", lambda name: False)
    return tmp_path / "site"


def test_links_bear_the_names_that_paddle_opens(site, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/own")
    environment = gpu.environment_with_libraries()
    links, *folders = environment["LD_LIBRARY_PATH"].split(":")
    assert folders == [str(site / "nvidia" / name / "lib") for name in ("cublas", "cudnn")] + ["/opt/own"]
    assert {path.name: os.readlink(path) for path in Path(links).iterdir()} == {
        "libcudnn.so": f"{site}/nvidia/cudnn/lib/libcudnn.so.8",
        "libcublas.so": f"{site}/nvidia/cublas/lib/libcublas.so.11",
        "libcublasLt.so": f"{site}/nvidia/cublas/lib/libcublasLt.so.11"}
    assert {name: value for name, value in os.environ.items() if environment.get(name) != value} == {
        "LD_LIBRARY_PATH": "/opt/own"}
    assert gpu.environment_with_libraries() == environment  # the second time the links are there
    assert "" not in environment["LD_LIBRARY_PATH"].split(":")  # which would stand for the current folder


def test_what_the_loader_finds_already_is_left_to_it(site, monkeypatch):
    monkeypatch.setattr(flags, "is_found", lambda name: name != "libcublasLt.so")
    links, folder = gpu.environment_with_libraries()["LD_LIBRARY_PATH"].split(":")
    assert os.listdir(links) == ["libcublasLt.so"] and folder.endswith("cublas/lib")
    monkeypatch.setattr(flags, "is_found", lambda name: True)
    assert gpu.environment_with_libraries() is None


@pytest.mark.parametrize("what", ["another Paddle", "restarted", "no libraries", "other versions", "another system",
                                  "no folder for links"])
def test_otherwise_the_script_goes_on_as_it_is(what, site, monkeypatch):
    assert gpu.environment_with_libraries()
    if what == "another Paddle":
        monkeypatch.setattr(gpu, "paddle_version", lambda: "3.3.1")
    elif what == "restarted":
        monkeypatch.setenv(gpu.RESTARTED, "1")
    elif what == "another system":
        monkeypatch.setattr(gpu.sys, "platform", "darwin")
    elif what == "no folder for links":
        monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    else:
        for path in site.glob("nvidia/*/lib/*"):  # those of CUDA 12 lie in the same folders
            path.rename(path.with_suffix(".12")) if what == "other versions" else path.unlink()
    assert gpu.environment_with_libraries() is None


def test_nothing_is_written_among_pips_files(site):
    before = sorted(site.rglob("*"))
    assert gpu.environment_with_libraries() and sorted(site.rglob("*")) == before


@pytest.mark.parametrize("version, found", [(8600, True), (8902, True), (91400, False)])
def test_a_cudnn_that_paddle_2_does_not_work_with_counts_as_not_found(version, found, monkeypatch):
    monkeypatch.setattr(flags.ctypes, "CDLL", lambda name: SimpleNamespace(cudnnGetVersion=lambda: version))
    assert flags.is_found("libcudnn.so") == found


def test_the_loader_is_asked():
    assert flags.is_found("libc.so.6") and not flags.is_found("libno-such-library.so")


@pytest.mark.parametrize("name, version, expected", [
    ("paddlepaddle_gpu", "2.6.2", "2.6.2"), ("paddlepaddle_gpu", "3.3.1", "3.3.1"), ("paddlepaddle", "2.6.2", ""),
    ("other", "2.6.2", ""),
])
def test_the_paddle_that_is_installed_counts(name, version, expected, monkeypatch, tmp_path):
    info = tmp_path / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="ascii")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert gpu.paddle_version() == expected


@pytest.fixture
def loadable(site):
    """The folder of site packages with a library that really can be loaded in cuDNN's place: a copy of zlib."""
    try:
        ctypes.CDLL("libz.so.1")
    except OSError:
        pytest.skip("there is no libz.so.1 to copy")
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    library = next(line.split()[-1] for line in lines if "/libz.so" in line)
    shutil.copy(library, site / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8")
    return site


def load(environment):
    """Whether a new process with this environment can load libcudnn.so."""
    return subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL('libcudnn.so')"], env=environment,
                          capture_output=True).returncode == 0


def test_a_library_that_pip_installed_is_loaded_under_its_short_name(loadable):
    if load(dict(os.environ)):
        pytest.skip("this machine has a libcudnn.so of its own")
    assert load(gpu.environment_with_libraries())


def test_a_script_is_started_again_once_as_the_same_process_with_its_arguments(loadable, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("ROOT", repr(str(ROOT))), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(loadable)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    child = subprocess.Popen([sys.executable, "-B", str(script), "--depth", "8", "a b"], env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(timeout=60)
    kept = sys.version_info >= (3, 10)  # options of Python itself
    first, second, last = out.splitlines()
    assert first == f"started {child.pid} ['--depth', '8', 'a b'] True", err
    assert second == f"started {child.pid} ['--depth', '8', 'a b'] {kept}" and last == "loaded"
