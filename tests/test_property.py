"""Whatever the moment, the signal, the number of workers, the recipe and the network: a resumed run ends the same."""
import functools
import os
import signal
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small_runs import assert_same_run, command, state

STEPS = 6  # in two passes of three
NETWORKS = {"resnet": ["--depth", "8", "--batch-size", "48"],
            "googlenet": ["--model", "googlenet", "--batch-size", "6"], "vgg": ["--model", "vgg", "--batch-size", "6"]}


def train(archive, folder, network, recipe, workers, *arguments, **environment):
    """Run six batches as a user would; returns (exit status, errors)."""
    done = subprocess.run(
        command(*NETWORKS[network], "--recipe", recipe, "--workers", workers, "--epochs", 2, "--max-batches",
                STEPS // 2, "--seed", 7, "--device", "cpu", "--data-file", archive, "--model-dir", folder, *arguments),
        env={**os.environ, **environment}, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def whole(small_archive, tmp_path_factory):
    """The undisturbed run of a network, recipe and number of workers: a function, each trained once."""
    @functools.cache
    def trained(network, recipe, workers):
        folder = tmp_path_factory.mktemp("whole")
        assert train(small_archive, folder, network, recipe, workers) == (0, "")
        return state(folder)

    return trained


@pytest.mark.long
@settings(max_examples=30, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(network=st.sampled_from(sorted(NETWORKS)), recipe=st.sampled_from(["quick", "book", "strong"]),
       workers=st.integers(1, 3), rank=st.integers(0, 2), step=st.integers(0, STEPS - 1),
       number=st.sampled_from([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]))
def test_a_run_that_was_stopped_and_resumed_ends_the_same(whole, small_archive, tmp_path_factory, network, recipe,
                                                          workers, rank, step, number):
    folder, run = tmp_path_factory.mktemp("cut"), (network, recipe, workers)
    status, err = train(small_archive, folder, *run, CHECKPOINT_SECONDS="0",
                        DISTURB=f"{rank % workers} {step} {number:d}")
    assert status in (128 + number, -number), err
    begun = (folder / "checkpoint.npz").exists()
    assert train(small_archive, folder, *run, *(["--resume"] if begun else [])) == (0, "")
    assert_same_run(whole(*run), state(folder))
