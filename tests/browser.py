"""Headless Chromium, driven by a test through the DevTools protocol, which needs no other package than Python.

`python tests/browser.py build/try.html image/try.png` takes the picture of that page that README.md shows.
"""
import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

FRAME = (255, 213, 74)  # the color of the page's frames, which are too thin to be among the commonest
PATIENCE = 120  # seconds for an answer
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The path of a Chromium, or None; None on Windows, where a process cannot be given pipes as here."""
    return None if os.name == "nt" else next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser of its own; `events` are all that it has told so far, as {"method", "params"}."""

    def __init__(self, folder, *options):
        """Start it with a profile in `folder`; JSON with a zero after it goes through its file descriptors 3 and 4."""
        reading, self._out = os.pipe()
        self._in, writing = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reading} 4>&{writing}', "bash", find(), "--headless", "--no-sandbox",
             "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
             *options, "about:blank"], pass_fds=(reading, writing), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(reading)
        os.close(writing)
        self.events, self._left, self._number, self._session = [], b"", 0, None
        page = next(each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Ask the browser for something -> its answer. Errors: AssertionError with what it says."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _read(self):
        """The next message. Errors: AssertionError where the browser says nothing for two minutes, or has ended."""
        while b"\0" not in self._left:
            assert select.select([self._in], [], [], PATIENCE)[0], f"the browser said nothing for {PATIENCE} s"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser has ended"
            self._left += piece
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)

    def ask(self, expression):
        """The value of a JavaScript expression; a promise's once it is kept."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, seconds=60):
        """Ask until the value is true."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"not after {seconds} s: {expression}"
            time.sleep(0.05)
        return value

    def open(self, address):
        """Load a page, and wait for its scripts."""
        self.call("Page.navigate", url=address)
        self.wait(f"location.href == {json.dumps(address)} && document.readyState == 'complete'")

    def resize(self, width, height, dark=False):
        """Give the window this size in CSS pixels, and the reader's system light or dark colors."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def choose(self, selector, path):
        """Choose a file with an <input type="file">, as the reader does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def move(self, x, y, kind="mouseMoved", **more):
        """Move the mouse to a place in the window; with another kind, press or release its button."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key, code=0, text=""):
        """Press a key and release it: Tab, ArrowRight, Enter ..."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **({"text": text} if kind == "keyDown" and text else {}))

    def picture(self, whole=True):
        """What is on the screen, as the bytes of a PNG; whole: the page to its end."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def close(self):
        """End the browser, if need be by force."""
        try:
            self.call("Browser.close")
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._out)
            os.close(self._in)


def photograph(page, target):
    """Write what book/try.py's page looks like with the dog's head covered, as a PNG of few colors."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            browser.resize(1100, 900)
            browser.open(page.resolve().as_uri())
            browser.wait("now.tensors")
            browser.ask("document.getElementById('covered').click(); document.getElementById('left').value = 10; "
                        "document.getElementById('top').value = 3")
            browser.wait("now.soon === undefined && document.getElementById('measured').textContent.length < 40")
            browser.ask("document.getElementById('measured').textContent = ''")  # how long it took differs each time
            picture = browser.picture()
        finally:
            browser.close()
    picture, palette = Image.open(io.BytesIO(picture)).convert("RGB"), Image.new("P", (1, 1))
    palette.putpalette(picture.quantize(255).getpalette()[:255 * 3] + [*FRAME])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    photograph(*map(Path, sys.argv[1:]))
