"""A small HTTP server on the loopback address that behaves, or misbehaves, as a test asks."""
import contextlib
import http.server
import re
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    """Each path of `pages` has a list of behaviors, one for each request; the last one is kept up."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.asked, self.over = {}, [], threading.Event()

    def serve(self, path, *behaviors):
        """Have a path answered by these behaviors; returns its address."""
        self.pages[path] = list(behaviors)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Looks the behavior up and lets it act."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        queue = self.server.pages.get(self.path, [status(404)])
        (queue.pop(0) if len(queue) > 1 else queue[0])(self)

    def log_message(self, *arguments):
        """Tests keep quiet."""


def head(handler, code=200, length=None, kind="application/x-gzip", **more):
    """Send the answer's head."""
    handler.send_response(code)
    handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def whole(content, ranges=True, length=True, pause=0.0):
    """Send all of the content, or the part that is asked for."""
    def act(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
        start = int(asked[1]) if asked and ranges else 0
        if asked and ranges and start >= len(content):
            return head(handler, 416, 0)
        part = f"bytes {start}-{len(content) - 1}/{len(content)}"
        more = {"Content_Range": part} if asked and ranges else {}
        head(handler, 206 if more else 200, len(content) - start if length else None, **more)
        for position in range(start, len(content), 1000):
            handler.wfile.write(content[position:position + 1000])
            time.sleep(pause)
    return act


def broken_off(content, after):
    """Announce all of the content, send a part, hang up."""
    def act(handler):
        head(handler, 200, len(content))
        handler.wfile.write(content[:after])
    return act


def stalled(content, after):
    """Announce all of the content, send a part, then nothing until the test is over."""
    def act(handler):
        head(handler, 200, len(content))
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        handler.server.over.wait(20)
    return act


def trickling(content):
    """Send a byte now and then, so that no single wait is long."""
    def act(handler):
        head(handler, 200, len(content))
        for byte in content:
            handler.wfile.write(bytes([byte]))
            if handler.server.over.wait(0.05):
                return
    return act


def silent():
    """Take the request and never answer."""
    return lambda handler: handler.server.over.wait(20)


def page(text=b"<html>Please log in to this network.</html>"):
    """A web page where the file should be, as in a hotel."""
    def act(handler):
        head(handler, 200, len(text), kind="text/html")
        handler.wfile.write(text)
    return act


def status(code):
    """An error."""
    return lambda handler: head(handler, code, 0)


@contextlib.contextmanager
def running():
    """Give a server that runs until the block ends."""
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
