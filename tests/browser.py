"""Chromium without a window, led by its DevTools protocol over a pipe; nothing but the standard library."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
LIMIT = 60.0  # seconds for an answer, on a busy machine


class Browser:
    """One page in a browser; everything that its console or its errors say is kept in `complaints`."""

    def __init__(self, process, to_browser, from_browser):
        self.process, self.to_browser, self.from_browser = process, to_browser, from_browser
        self.number, self.buffer, self.session, self.events, self.complaints, self.requests = 0, b"", None, [], [], []

    def call(self, method, **parameters):
        """Send a command and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self):
        limit = time.monotonic() + LIMIT
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.from_browser], [], [], max(0, limit - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.from_browser, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        answer = json.loads(text)
        name, about = answer.get("method"), answer.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.complaints.append(about["exceptionDetails"])
        elif name == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(about)
        elif name == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"])
        elif name == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        self.events.append(name)
        return answer

    def open(self, url, width, height=900, dark=False, reduced=False):
        """Show a page in a window of this width, and wait until it has been loaded."""
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        if phone:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        wanted = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce" if reduced else ""}
        self.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wanted.items()])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, expression):
        """Return the value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression, seconds=LIMIT):
        """Wait until an expression is true."""
        limit = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < limit, f"it never came true: {expression}"
            time.sleep(0.05)

    def place(self, selector, across=0.5):
        """Scroll to an element and return a point of it, at this share of its width."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'center'}})")
        box = self.run(f"(({{x, y, width, height}}) => [x, y, width, height])({find}.getBoundingClientRect())")
        return {"x": box[0] + across * box[2], "y": box[1] + box[3] / 2}

    def drag(self, selector, begin, end):
        """Press the mouse on an element at one share of its width and release it at another."""
        first, last = self.place(selector, begin), self.place(selector, end)
        middle = {name: (first[name] + last[name]) / 2 for name in "xy"}
        for kind, point in (("mousePressed", first), ("mouseMoved", middle), ("mouseMoved", last), ("mouseReleased", last)):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **point)

    def tap(self, selector):
        """Touch an element."""
        point = self.place(selector)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, name, code):
        """Press a key in the element that has the focus."""
        text = {"text": " "} if name == " " else {}
        for kind in ("keyDown", "keyUp"):
            key = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type=kind, **key, **(text if kind == "keyDown" else {}))

    def screenshot(self, path, whole=True):
        """Write a picture of the page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(picture))

    def pdf(self):
        """Return the page as it would be printed, as the bytes of a PDF."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextlib.contextmanager
def browser():
    """A browser with a fresh profile, ended afterwards."""
    to_browser, from_browser = os.pipe(), os.pipe()

    def as_three_and_four():  # in the child: the descriptors that --remote-debugging-pipe reads from and writes to
        ends = os.dup(to_browser[0]), os.dup(from_browser[1])
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=as_three_and_four,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Browser(process, to_browser[1], from_browser[0])
        finally:
            process.terminate()
            process.wait(30)
            for end in (*to_browser, *from_browser):
                os.close(end)
