"""A copy of the project in the place of the published one: what is fetched from its address comes from there."""
import shutil
import subprocess
from pathlib import Path

from book.chapter import ROOT


def git(folder, *words):
    """What git prints when it runs in a folder."""
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def copy_to(folder, address):
    """A repository in this folder with the project's files of this moment.

    Returns variables of the environment under which git fetches it from the address.
    """
    folder = Path(folder)
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "-m", "copy")
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": address}
