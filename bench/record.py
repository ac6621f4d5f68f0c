"""Record a corpus of real metrics: what the engines on this machine say about themselves.

  make build/tocsin first, then: python3 bench/record.py SPOOL-DIRECTORY OUT.jsonl.gz
  RECORD_ROUNDS=480 RECORD_INTERVAL_S=5 RECORD_SEED=1 NODE_EXPORTER_BIN=…

Starts tocsin and Debian's prometheus, victoria-metrics and prometheus-node-exporter (those that are
installed) on fresh directories, gives them work of varying weight (remote writes by rw_load, range
queries; the peers also scrape each other), and reads the four /metrics pages every interval. The
pages go to the spool as they came; afterwards they become one JSON line per series, in the form of
`/api/v1/import`: {"metric": {…}, "values": […], "timestamps": […]}, sorted by metric, other labels,
`le`. Nothing but what our own processes print is recorded; what names this machine (directories,
kernel, file systems) is left out.
"""

import gzip
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROUNDS = int(os.environ.get("RECORD_ROUNDS", "480"))
INTERVAL_S = float(os.environ.get("RECORD_INTERVAL_S", "5"))
SEED = int(os.environ.get("RECORD_SEED", "1"))
BUILD = os.environ.get("RECORD_BUILD", os.path.join(ROOT, "build"))
# Collectors whose labels are about the machine, not about the format.
NODE_EXPORTER_FLAGS = [f"--no-collector.{name}" for name in (
    "dmi", "filesystem", "mdadm", "nvme", "os", "uname", "zfs")]
DROPPED = re.compile(r"^(flag|process_io_|go_build_info|node_exporter_build_info)")
LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def engines(ports, directory):
    """name → command; the directory is where each runs, so that no metric shows a path."""
    jobs = "".join(f"- job_name: {name}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
                   for name, port in ports.items())
    with open(os.path.join(directory, "prometheus.yml"), "w", encoding="utf-8") as handle:
        handle.write(f"global: {{scrape_interval: {INTERVAL_S:g}s}}\nscrape_configs:\n{jobs}"
                     f"remote_write:\n- url: http://127.0.0.1:{ports['tocsin']}/api/v1/write\n"
                     f"- url: http://127.0.0.1:{ports['victoria-metrics']}/api/v1/write\n")
    found = {
        "tocsin": [os.path.join(BUILD, "tocsin"), "serve", "--storage.path=tocsin",
                   f"--web.listen-address=127.0.0.1:{ports['tocsin']}", "--log.level=error"],
        "prometheus": [os.environ.get("PROMETHEUS_BIN") or shutil.which("prometheus"),
                       "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
                       f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                       "--web.enable-remote-write-receiver", "--log.level=error",
                       "--storage.remote.flush-deadline=1s"],
        "victoria-metrics": [
            os.environ.get("VICTORIAMETRICS_BIN") or shutil.which("victoria-metrics"),
            "-storageDataPath=victoria", "-loggerLevel=ERROR",
            f"-httpListenAddr=127.0.0.1:{ports['victoria-metrics']}"],
        "node": [os.environ.get("NODE_EXPORTER_BIN") or shutil.which("prometheus-node-exporter"),
                 f"--web.listen-address=127.0.0.1:{ports['node']}", *NODE_EXPORTER_FLAGS],
    }
    return {name: command for name, command in found.items() if command[0]}


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=4) as reply:
        return reply.read()


def work(generator, ports, round_index):
    """Some writes and queries, in waves: half an hour of quiet and busy minutes."""
    busy = round_index // 36 % 3
    for name in ("tocsin", "prometheus", "victoria-metrics"):
        for _ in range(busy if generator.random() < 0.8 else 0):
            series = generator.choice([100, 500, 2000])
            subprocess.run([os.path.join(BUILD, "bench", "rw_load"), f"127.0.0.1:{ports[name]}",
                            "/api/v1/write", f"--series={series}", "--rounds=1",
                            f"--start-ms={int(time.time() * 1000)}"],
                           capture_output=True, check=False)
        for _ in range(generator.randrange(1 + 3 * busy)):
            query = generator.choice(["sum by (job) (rate({__name__=~'.+_total'}[1m]))", "up",
                                      "histogram_quantile(0.9, {__name__=~'.+_bucket'})"])
            end = int(time.time())
            try:
                get(ports[name], "/api/v1/query_range?" + urllib.parse.urlencode(
                    {"query": query, "start": end - 300, "end": end, "step": 15}))
            except OSError:
                pass


def record(spool):
    generator = random.Random(SEED)
    directory = tempfile.mkdtemp(prefix="record-")
    ports = {name: free_port() for name in ("tocsin", "prometheus", "victoria-metrics", "node")}
    running = []
    try:
        for name, command in engines(ports, directory).items():
            with open(os.path.join(directory, f"{name}.log"), "w", encoding="utf-8") as log:
                running.append(subprocess.Popen(command, cwd=directory, stdout=log, stderr=log))
        time.sleep(3)
        start = time.time()
        for round_index in range(ROUNDS):
            time.sleep(max(0, start + round_index * INTERVAL_S - time.time()))
            for name, port in ports.items():
                t_ms = int(time.time() * 1000)
                try:
                    page = get(port, "/metrics")
                except OSError as error:
                    print(f"round {round_index}, {name}: {error}", file=sys.stderr)
                    continue
                page = page.replace(directory.encode(), b"")
                path = os.path.join(spool, f"{round_index:05d}.{name}.{t_ms}.gz")
                with gzip.open(path, "wb", 6) as handle:
                    handle.write(page)
            work(generator, ports, round_index)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def unescape(text):
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


def parse(page, name):
    """(labels as a sorted tuple, value text) of every sample; comments and time stamps aside."""
    for line in page.splitlines():
        match = LINE.match(line)
        if match is None or line.startswith("#") or DROPPED.match(match[1]):
            continue
        labels = {key: unescape(value) for key, value in LABEL.findall(match[2] or "")}
        labels.update({"__name__": match[1], "job": name, "instance": f"{name}:1"})
        yield tuple(sorted(labels.items())), match[3]


def order(labels):
    """The metric, the other labels, and `le` as a number last: neighbours are alike."""
    named = dict(labels)
    bound = float(named.pop("le", "nan").replace("Inf", "inf"))
    return named["__name__"], sorted(named.items()), bound


def jsonl(value):
    """NaN and the infinities as JSON lines have them; whole numbers short."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    is_negative_zero = value == 0 and math.copysign(1, value) < 0
    return int(value) if value.is_integer() and abs(value) < 1e15 and not is_negative_zero else value


def convert(spool, out):
    series = {}
    for file_name in sorted(os.listdir(spool)):
        _, name, t_ms, _ = file_name.split(".")
        with gzip.open(os.path.join(spool, file_name), "rt", encoding="utf-8") as handle:
            for labels, value in parse(handle.read(), name):
                times, values = series.setdefault(labels, ([], []))
                times.append(int(t_ms))
                values.append(float(value.replace("Inf", "inf")))
    with open(out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as handle:
        for labels in sorted(series, key=order):
            times, values = series[labels]
            row = {"metric": dict(labels), "values": [jsonl(value) for value in values],
                   "timestamps": times}
            handle.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    print(f"{len(series)} series, {sum(len(times) for times, _ in series.values())} samples, "
          f"{os.path.getsize(out)} bytes")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    spool, out = sys.argv[1:]
    os.makedirs(spool, exist_ok=True)
    if not os.listdir(spool):
        record(spool)
    convert(spool, out)


if __name__ == "__main__":
    main()
