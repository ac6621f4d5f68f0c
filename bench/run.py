"""Ingest and memory beside the peers: one command, one run, one table of ratios.

  make bench                       Debian's prometheus and victoria-metrics
  PROMETHEUS_BIN=… VICTORIAMETRICS_BIN=… make bench     other versions
  BENCH_SERIES=500000 BENCH_ROUNDS=20                   another size

Each engine in turn gets the same remote-write load on a fresh directory: first one round that
creates the series, then BENCH_ROUNDS rounds over them. CPU is the server's own (user + system, all
threads), memory its anonymous resident set after the load. tocsin acknowledges after fsync, the
peers do not.
"""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERIES = int(os.environ.get("BENCH_SERIES", "100000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))
SEED = os.environ.get("BENCH_SEED", "1")
STEP_MS = 15000
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def engines(port, directory):
    """(name, command, write path, ready path, environment) of everything that can be run here."""
    prometheus = os.environ.get("PROMETHEUS_BIN") or shutil.which("prometheus")
    victoria = os.environ.get("VICTORIAMETRICS_BIN") or shutil.which("victoria-metrics")
    yield ("tocsin",
           [os.path.join(ROOT, "build", "tocsin"), "serve", f"--storage.path={directory}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            "--self.scrape-interval=0s", "--rules.path=/nonexistent/*.yml"],
           "/api/v1/write", "/-/ready")
    if prometheus:
        config = os.path.join(directory, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as handle:
            handle.write("global: {}\n")
        yield ("prometheus",
               [prometheus, f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
                "--log.level=error"],
               "/api/v1/write", "/-/ready")
    if victoria:
        yield ("victoria-metrics",
               [victoria, f"-storageDataPath={directory}/data",
                f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=ERROR"],
               "/api/v1/write", "/health")


def version_of(command):
    out = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=10,
                         check=False)
    text = (out.stdout + out.stderr).strip()
    if text:
        return text.splitlines()[0]
    package = subprocess.run(["dpkg-query", "-S", os.path.realpath(command[0])],
                             capture_output=True, text=True, check=False).stdout.split(":")[0]
    out = subprocess.run(["dpkg-query", "-W", package], capture_output=True, text=True, check=False)
    return out.stdout.strip().replace("\t", " ") or "unknown version"


def wait_ready(port, path, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"exited with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("not ready within 60 s")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def anon_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as handle:
        for line in handle:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise SystemExit("no RssAnon in /proc")


def disk_bytes(directory):
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total


def load(port, path, rounds, start_ms):
    out = subprocess.run(
        [os.path.join(ROOT, "build", "bench", "rw_load"), f"127.0.0.1:{port}", path, str(SERIES),
         str(rounds), str(start_ms), str(STEP_MS), SEED],
        capture_output=True, text=True, check=False)
    if out.returncode != 0:
        raise SystemExit(f"load failed: {out.stderr.strip()}")
    return json.loads(out.stdout)


def measure(command, port, directory, path, ready):
    start_ms = int(time.time() * 1000) - (ROUNDS + 2) * STEP_MS
    with open(os.path.join(directory, "log"), "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_ready(port, ready, process)
        idle = anon_bytes(process.pid)
        before = cpu_s(process.pid)
        created = load(port, path, 1, start_ms)
        middle = cpu_s(process.pid)
        steady = load(port, path, ROUNDS, start_ms + STEP_MS)
        after = cpu_s(process.pid)
        return {
            "create": created["samples"] / max(middle - before, 1 / TICK),
            "steady": steady["samples"] / max(after - middle, 1 / TICK),
            "wall": steady["samples"] / steady["seconds"],
            "p50": steady["ack_p50_ms"], "p99": steady["ack_p99_ms"],
            "idle": idle, "series": (anon_bytes(process.pid) - idle) / SERIES,
            "disk": disk_bytes(directory) / (created["samples"] + steady["samples"]),
        }
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


ROWS = [
    ("ingest, series exist      samples/s per core", "steady", "{:,.0f}", True),
    ("ingest, series are new    samples/s per core", "create", "{:,.0f}", True),
    ("ingest, series exist      samples/s, wall clock", "wall", "{:,.0f}", True),
    ("acknowledgement           p50 ms", "p50", "{:.2f}", False),
    ("acknowledgement           p99 ms", "p99", "{:.2f}", False),
    ("memory, anonymous         bytes per series", "series", "{:,.0f}", False),
    ("memory, anonymous         bytes when idle", "idle", "{:,.0f}", False),
    ("disk after the load       bytes per sample", "disk", "{:.2f}", False),
]


def main():
    results = {}
    print(f"{SERIES:,} series, 1 + {ROUNDS} rounds, 2,000 samples per request, seed {SEED}; "
          f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}")
    with tempfile.TemporaryDirectory() as scratch:
        names = [engine[0] for engine in engines(0, scratch)]
    for name in names:
        directory = tempfile.mkdtemp(prefix=f"bench-{name}-")
        port = free_port()
        try:
            _, command, path, ready = next(e for e in engines(port, directory) if e[0] == name)
            print(f"{name}: {version_of(command)}", flush=True)
            results[name] = measure(command, port, directory, path, ready)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    peers = [name for name in names if name != "tocsin"]
    print(f"{'':48}" + "".join(f"{name:>20}" for name in names) +
          "".join(f"{'ratio to ' + peer:>28}" for peer in peers))
    for title, key, shape, bigger_is_better in ROWS:
        line = f"{title:48}" + "".join(
            f"{shape.format(results[name][key]):>20}" for name in names)
        for peer in peers:
            ours, theirs = results["tocsin"][key], results[peer][key]
            ratio = ours / theirs if bigger_is_better else theirs / ours
            line += f"{ratio:>27.2f}x"
        print(line)
    print("ratios above 1 are in favour of tocsin; only tocsin's acknowledgements are fsynced")
    return 0


if __name__ == "__main__":
    sys.exit(main())
