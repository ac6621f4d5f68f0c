"""The engines that are compared: how each is started, loaded, asked and measured."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BENCH_BUILD", os.path.join(ROOT, "build"))
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def version_of(binary):
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10,
                         check=False)
    text = (out.stdout + out.stderr).strip().splitlines()
    if text and "flag" not in text[0] and "version  " not in text[0]:
        return text[0]
    package = subprocess.run(["dpkg-query", "-S", os.path.realpath(binary)],
                             capture_output=True, text=True, check=False).stdout.split(":")[0]
    out = subprocess.run(["dpkg-query", "-W", package], capture_output=True, text=True, check=False)
    return out.stdout.strip().replace("\t", " ") or f"{binary}, which prints no version"


class Engine:
    """One server on a directory of its own; `with` removes both."""

    write_path = "/api/v1/write"
    ready_path = "/-/ready"

    def __init__(self, name, binary):
        self.name = name
        self.binary = binary
        self.process = None
        self.directory = None
        self.port = None

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix=f"bench-{self.name}-",
                                          dir=os.environ.get("BENCH_DIR"))
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self):
        raise NotImplementedError

    def settle(self):
        """Make it do now what it would do in the background."""

    # ---- life ----

    def start(self):
        """Seconds until it is ready."""
        self.port = free_port()
        with open(os.path.join(self.directory, "log"), "a", encoding="utf-8") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = begin + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} exited with {self.process.returncode}")
            try:
                with self.open(self.ready_path, timeout=2) as reply:
                    if reply.status == 200:
                        return time.monotonic() - begin
            except OSError:
                pass
            time.sleep(0.02)
        raise SystemExit(f"{self.name} is not ready after 600 s")

    def stop(self, signal_number=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(signal_number)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    # ---- talking ----

    def open(self, path, timeout=600, data=None):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout,
                                      data=data)

    def query(self, path, **params):
        """The reply's "result" and the seconds it took."""
        begin = time.monotonic()
        try:
            with self.open(f"/api/v1/{path}?{urllib.parse.urlencode(params)}") as reply:
                body = json.load(reply)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{self.name}: {params['query']}: {error.read().decode()}") from error
        return body["data"]["result"], time.monotonic() - begin

    def load(self, **options):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        out = subprocess.run([os.path.join(BUILD, "bench", "rw_load"), f"127.0.0.1:{self.port}",
                              self.write_path, *flags], capture_output=True, text=True, check=False)
        if out.returncode != 0:
            raise SystemExit(f"{self.name}: load failed: {out.stderr.strip()}")
        return json.loads(out.stdout)

    # ---- measuring ----

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as handle:
            fields = handle.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def anon_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as handle:
            for line in handle:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise SystemExit("no RssAnon in /proc")

    def device_bytes(self):
        """Written to the block layer by this process so far."""
        with open(f"/proc/{self.process.pid}/io", encoding="ascii") as handle:
            for line in handle:
                if line.startswith("write_bytes:"):
                    return int(line.split()[1])
        raise SystemExit("no write_bytes in /proc")

    def disk_bytes(self):
        total = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                if name not in ("log", "prometheus.yml"):
                    try:
                        total += os.stat(os.path.join(folder, name)).st_blocks * 512
                    except FileNotFoundError:
                        pass
        return total

    def wait_disk_settled(self, seconds_max=240):
        """Until the directory has kept its size for a while."""
        self.settle()
        sizes = []
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            sizes.append(self.disk_bytes())
            if len(sizes) > 40 and len(set(sizes[-40:])) == 1:
                break
            time.sleep(1)
        return self.disk_bytes()


class Tocsin(Engine):
    def command(self):
        return [self.binary, "serve", f"--storage.path={self.directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error",
                "--self.scrape-interval=0s", "--rules.path=/nonexistent/*.yml",
                "--web.enable-admin-api"]

    def settle(self):
        # What the last trim freed is given back after the next commit; a server has one every few
        # seconds for its own metrics, which are off here.
        for _ in range(2):
            with self.open("/api/v1/admin/tsdb/clean_tombstones", data=b""):
                pass
            with self.open("/api/v1/import/prometheus", data=b"settled 1\n"):
                pass


class Prometheus(Engine):
    def command(self):
        config = os.path.join(self.directory, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as handle:
            handle.write("global: {}\n")
        return [self.binary, f"--config.file={config}", f"--storage.tsdb.path={self.directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver", "--log.level=error"]


class VictoriaMetrics(Engine):
    ready_path = "/health"

    def command(self):
        return [self.binary, f"-storageDataPath={self.directory}/data",
                f"-httpListenAddr=127.0.0.1:{self.port}", "-loggerLevel=ERROR",
                "-search.latencyOffset=0s", "-search.disableCache"]

    def settle(self):
        with self.open("/internal/force_flush"):
            pass
        with self.open("/internal/force_merge"):
            pass


def binaries(variable, default):
    """Paths from the environment, separated by ':' (empty: none), or the one that is installed."""
    named = os.environ.get(variable)
    if named is not None:
        return [path for path in named.split(":") if path]
    found = shutil.which(default)
    return [found] if found else []


def all_engines():
    """(name, maker) of everything that can be run here; tocsin first."""
    made = [("tocsin", Tocsin, os.path.join(BUILD, "tocsin"))]
    for number, binary in enumerate(binaries("PROMETHEUS_BIN", "prometheus"), 1):
        made.append((f"prometheus{'' if number == 1 else number}", Prometheus, binary))
    for number, binary in enumerate(binaries("VICTORIAMETRICS_BIN", "victoria-metrics"), 1):
        made.append((f"victoria{'' if number == 1 else number}", VictoriaMetrics, binary))
    return [(name, lambda name=name, cls=cls, binary=binary: cls(name, binary), binary)
            for name, cls, binary in made]
