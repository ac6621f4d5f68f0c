"""Drive the real binary: start, stop, kill, ask. Shared by the end-to-end tests and the demo."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("TOCSIN_BINARY", os.path.join(ROOT, "build", "tocsin"))


def wait_for(what, condition, timeout_s=30.0, every_s=0.05):
    """Poll until condition() is truthy and return it; fails naming what was awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Engine:
    """One engine on one data directory; may be started many times."""

    def __init__(self, directory, arguments=(), env=None, port=0):
        self.directory = str(directory)
        self.arguments = list(arguments)
        self.env = {**os.environ, "LOG_FORMAT": "json", **(env or {})}
        for name in ("ALERT_WEBHOOK_URL", "ALERT_EMAIL", "METRICS_PORT"):
            if name not in (env or {}):
                self.env.pop(name, None)
        self.port = port
        self.process = None
        self.log = []

    def start(self, timeout_s=20.0):
        self.process = subprocess.Popen(
            [BINARY, "serve", f"--storage.path={self.directory}",
             f"--web.listen-address=127.0.0.1:{self.port}", *self.arguments],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.env, cwd=ROOT, text=True)
        listening = threading.Event()
        process = self.process

        def follow():
            for line in process.stderr:
                self.log.append(line.rstrip("\n"))
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("message") == "Listening on":
                    self.port = int(entry["address"].rsplit(":", 1)[1])
                    listening.set()

        self.follower = threading.Thread(target=follow, daemon=True)
        self.follower.start()
        deadline = time.monotonic() + timeout_s
        while not listening.wait(0.02):
            if process.poll() is not None:
                self.follower.join(2)
                raise AssertionError(f"exited {process.returncode}:\n" + "\n".join(self.log[-20:]))
            if time.monotonic() > deadline:
                raise AssertionError("not listening:\n" + "\n".join(self.log[-20:]))
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.follower.join(5)

    def stop(self, timeout_s=20.0):
        """Graceful stop; returns the exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("did not stop:\n" + "\n".join(self.log[-20:])) from None
        self.follower.join(5)
        return self.process.returncode

    def request(self, path, data=None, headers=None, method=None, timeout_s=30.0):
        """(status, headers, body bytes) of one request, whatever the status."""
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {},
                                         method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path):
        status, _, body = self.request(path)
        assert status == 200, f"GET {path}: {status} {body[:500]!r}"
        return json.loads(body)

    def query(self, expression, time_s=None):
        """Instant query as a list of (labels, value)."""
        parameters = {"query": expression}
        if time_s is not None:
            parameters["time"] = str(time_s)
        reply = self.get("/api/v1/query?" + urllib.parse.urlencode(parameters))
        assert reply["status"] == "success", reply
        data = reply["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(item["metric"], float(item["value"][1])) for item in data["result"]]

    def value(self, expression):
        """The single value of an instant query, None when empty."""
        result = self.query(expression)
        assert len(result) <= 1, f"{expression}: {result}"
        return result[0][1] if result else None

    def alerts(self):
        return self.get("/api/v1/alerts")["data"]["alerts"]
