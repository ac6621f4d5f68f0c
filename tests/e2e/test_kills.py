"""kill -9 of the real server while clients write over HTTP: what got a 2xx is there, once.

Method: three clients push a counter each, one sample per request, and send again what got no reply;
the server is killed at random moments and started again on the same directory. At the end every
sample from the first to the last acknowledged one is there with its value, and nothing else is; the
directory verifies, before and after it is opened once more. (The store itself is killed far more
often in tests/crash.)
"""

import http.client
import json
import os
import random
import subprocess
import threading
import time

from engine import BINARY

CYCLES = int(os.environ.get("TOCSIN_SERVER_KILLS", "40"))
CLIENTS = 3


class Client(threading.Thread):
    """Sends n = 0, 1, … as samples a millisecond apart; counts those with a 2xx."""

    def __init__(self, engine, name, start_ms):
        super().__init__(daemon=True)
        self.engine = engine
        self.name = name
        self.start_ms = start_ms
        self.acked = 0
        self.is_over = False
        self.refusals = []

    def push(self, connection, n):
        line = f'kills_total{{client="{self.name}"}} {n} {self.start_ms + n}\n'
        connection.request("POST", "/api/v1/import/prometheus", line.encode())
        reply = connection.getresponse()
        body = reply.read()
        if reply.status // 100 == 2:
            self.acked = n + 1
        elif reply.status not in (429, 503):
            self.refusals.append((n, reply.status, body))

    def run(self):
        while not self.is_over:
            connection = http.client.HTTPConnection("127.0.0.1", self.engine.port, timeout=5)
            try:
                while not self.is_over:
                    self.push(connection, self.acked)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)  # the server is down: try again
            finally:
                connection.close()


def verify(directory):
    checked = subprocess.run([BINARY, "verify", "--json", str(directory)], capture_output=True,
                             text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_acknowledged_samples_survive(make_engine, tmp_path):
    seed = int(os.environ.get("TOCSIN_SEED", time.time_ns() % 1000000))
    print(f"seed {seed}")
    draw = random.Random(seed)
    engine = make_engine()
    engine.start()
    start_ms = int(time.time() * 1000) - 300_000
    clients = [Client(engine, f"c{i}", start_ms) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    for cycle in range(CYCLES):
        time.sleep(draw.uniform(0.0, 0.4))  # the moment of the kill
        engine.kill()
        if cycle % 5 == 4:
            verify(engine.directory)
        engine.start()
    deadline = time.monotonic() + 30
    before = [client.acked for client in clients]
    while any(c.acked == b for c, b in zip(clients, before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    for client in clients:
        client.is_over = True
    for client in clients:
        client.join(10)
        assert not client.refusals, client.refusals[:3]
        assert client.acked > CYCLES
    check(engine, clients, start_ms)
    assert engine.stop() == 0
    verify(engine.directory)
    engine.start()
    check(engine, clients, start_ms)


def check(engine, clients, start_ms):
    for client in clients:
        reply = engine.get(f"/api/v1/query?query=kills_total%7Bclient%3D%22{client.name}%22%7D%5B1h%5D")
        result = reply["data"]["result"]
        assert len(result) == 1, json.dumps(reply)[:500]
        got = [(round(t * 1000) - start_ms, float(value)) for t, value in result[0]["values"]]
        want = [(n, float(n)) for n in range(client.acked)]
        # One more may have become durable without its reply.
        assert got in (want, want + [(client.acked, float(client.acked))]), (
            f"{client.name}: {client.acked} acknowledged, {len(got)} there; "
            f"first difference {next((p for p in zip(got, want) if p[0] != p[1]), None)}")
