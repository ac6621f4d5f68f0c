"""The reference producer as a process: real uvicorn, four workers that restart, plus load."""

import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from engine import ROOT, free_port, wait_for

PRODUCER = os.path.join(ROOT, "tests", "producer")


class Backend:
    def __init__(self, directory, tocsin_url, llm_url, workers=4, requests_max=60, beat_s=1.0):
        self.journal_dir = os.path.join(str(directory), "journal")
        os.makedirs(self.journal_dir, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(os.path.join(str(directory), "uvicorn.log"), "w", encoding="utf-8")
        env = {**os.environ, "TOCSIN_URL": tocsin_url, "LLM_URL": llm_url,
               "EVENT_JOURNAL": self.journal_dir, "BEAT_S": str(beat_s),
               "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port),
             "--workers", str(workers), "--limit-max-requests", str(requests_max),
             "--timeout-graceful-shutdown", "5", "--no-access-log"],
            cwd=PRODUCER, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        wait_for("uvicorn answers", self.ping, 30)

    def ping(self):
        return self.call("GET", "/ping") == 200

    def call(self, method, path):
        """Status of one request, read to its end; None when the connection failed (a worker that
        reached its limit may drop it)."""
        try:
            request = urllib.request.Request(self.url + path, method=method)
            with urllib.request.urlopen(request, timeout=60) as reply:
                reply.read()
                return reply.status
        except urllib.error.HTTPError as error:
            error.read()
            return error.code
        except OSError:
            return None

    def load(self, calls, threads=8):
        """Run (method, path) calls on some threads; returns the statuses."""
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda call: self.call(*call), calls))

    def stop(self):
        """Let every worker flush and say goodbye."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("uvicorn did not stop") from None
        self.log.close()

    def journal(self):
        """Every line the workers wrote down, as dicts with "what"."""
        lines = []
        for path in glob.glob(os.path.join(self.journal_dir, "*.jsonl")):
            with open(path, encoding="utf-8") as handle:
                for line in handle:
                    if line.endswith("\n"):
                        lines.append(json.loads(line))
        return lines

    def worker_count(self):
        return len(glob.glob(os.path.join(self.journal_dir, "*.jsonl")))


def settle(backend, timeout_s=60):
    """Wait until every event a worker made was acknowledged (or refused)."""
    def settled():
        lines = backend.journal()
        made = {line["id"] for line in lines if line["what"] == "made"}
        ended = {line["id"] for line in lines if line["what"] != "made"}
        return made and made <= ended

    wait_for("every event is acknowledged", settled, timeout_s, 0.2)
    return time.time()
