"""Push events to tocsin: standard library only, one call per finished thing.

    events = Events("http://127.0.0.1:9090", app="hedge_fund", job="hedge-fund-backend")
    events.send("request", method="GET", route="/ping", status=200, duration_ms=3.1)

Every event gets an id, so a batch is sent again after any failure and still counts once. Sending
happens on a thread that starts with the first event of the process (safe with forked or spawned
workers); the process never waits for it, except for the bounded flush at exit.
"""

import atexit
import json
import multiprocessing.util
import os
import queue
import resource
import threading
import time
import urllib.error
import urllib.request
import uuid

BATCH_MAX = 500
FLUSH_S = 0.1
EXIT_FLUSH_S = 30.0


class Events:
    def __init__(self, url, app, job=None, beat_s=5.0, journal=None):
        """journal: a file that gets one line per event when it is made and when it is acknowledged
        (an outside record for tests)."""
        self._url = url.rstrip("/") + "/v1/events"
        self._common = {"app": app, "job": job or app}
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._beat_s = beat_s
        self._journal = open(journal, "a", buffering=1, encoding="utf-8") if journal else None
        self._queue = queue.SimpleQueue()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._lock = threading.Lock()
        self._thread = None

    def send(self, kind, **fields):
        event = {"id": uuid.uuid4().hex, "kind": kind, "ts": int(time.time() * 1000),
                 **self._common, "worker": self._worker, **fields}
        self._record("made", event)
        self._queue.put(event)
        self._start()

    def close(self):
        """Flush what is queued and say goodbye; waits at most EXIT_FLUSH_S."""
        if self._thread is None or self._closing.is_set():
            return
        self.send("beat", interval_s=self._beat_s, goodbye=True)
        self._closing.set()
        self._thread.join(EXIT_FLUSH_S)

    def abandon(self):
        """Stop without flushing or saying goodbye, as a killed process would."""
        self._abandoned.set()
        self._closing.set()
        if self._thread is not None:
            self._thread.join(EXIT_FLUSH_S)

    def _start(self):
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tocsin", daemon=True)
                self._thread.start()
                # Workers made by multiprocessing (uvicorn's) end without running atexit.
                atexit.register(self.close)
                multiprocessing.util.Finalize(None, self.close, exitpriority=100)

    def _record(self, what, event):
        if self._journal:
            self._journal.write(json.dumps({"what": what, **event}) + "\n")

    def _beat(self):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/self/statm", encoding="ascii") as statm:
            rss = int(statm.read().split()[1]) * resource.getpagesize()
        self.send("beat", interval_s=self._beat_s)
        self.send("resource", rss_bytes=rss, cpu_seconds=usage.ru_utime + usage.ru_stime,
                  interval_s=self._beat_s)

    def _take(self, wait_s):
        batch = []
        try:
            batch.append(self._queue.get(timeout=wait_s))
            while len(batch) < BATCH_MAX:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _run(self):
        next_beat = time.monotonic()
        while not self._abandoned.is_set():
            if not self._closing.is_set() and time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._beat_s
                self._beat()
            batch = self._take(FLUSH_S)
            if batch:
                self._deliver(batch)
            elif self._closing.is_set():
                return

    def _deliver(self, batch):
        body = "".join(json.dumps(event) + "\n" for event in batch).encode()
        pause = 0.05
        while True:
            request = urllib.request.Request(
                self._url, data=body, headers={"Content-Type": "application/x-ndjson"})
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    verdict = json.load(reply)
                for rejected in verdict.get("rejected", []):
                    self._record("rejected", {**batch[rejected["line"] - 1],
                                              "reason": rejected["reason"]})
                refused = {rejected["line"] - 1 for rejected in verdict.get("rejected", [])}
                for index, event in enumerate(batch):
                    if index not in refused:
                        self._record("acked", event)
                return
            except urllib.error.HTTPError as error:
                if error.code not in (429, 500, 502, 503, 504, 507):
                    for event in batch:
                        self._record("refused", {**event, "reason": str(error.code)})
                    return
            except OSError:
                pass
            except ValueError:
                pass
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
