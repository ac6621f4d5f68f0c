"""A real Prometheus beside us: reads our data, scrapes us, writes to us; promtool agrees.

Goal: Debian's prometheus and promtool work against the engine unmodified.
Method: both run on free ports with one second intervals; values are compared on both sides.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

import remote_read
from engine import ROOT, free_port, wait_for

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None,
                                reason="Debian's prometheus is not installed")


class Prometheus:
    def __init__(self, directory, config):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "prometheus.yml"
        path.write_text(config)
        self.log = open(directory / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
            stdout=self.log, stderr=self.log)
        wait_for("prometheus is ready", self.is_ready, 60)

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=2) as reply:
                return reply.status == 200
        except OSError:
            return False

    def query(self, expression):
        url = self.url + "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=30) as reply:
            document = json.load(reply)
        return [(item["metric"], float(item["value"][1])) for item in document["data"]["result"]]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture
def make_prometheus(tmp_path):
    running = []

    def make(config):
        running.append(Prometheus(tmp_path / f"prometheus{len(running)}", config))
        return running[-1]

    yield make
    for prometheus in running:
        prometheus.stop()


def import_samples(engine, count=240, step_s=15):
    """A counter and a gauge every step_s, ending now; returns [(t_ms, counter, gauge)]."""
    end_ms = int(time.time()) * 1000
    points = []
    for index in range(count):
        t_ms = end_ms - (count - 1 - index) * step_s * 1000
        points.append((t_ms, index * 3.0, (index * 37 % 101) / 8))
    body = "".join(f'e2e_total{{path="/a"}} {counter} {t_ms}\ne2e_gauge{{path="/a"}} {gauge} {t_ms}\n'
                   for t_ms, counter, gauge in points)
    status, _, reply = engine.request("/api/v1/import/prometheus", body.encode(), method="POST")
    assert status == 204, reply
    return points


def test_prometheus_reads_our_data(make_engine, make_prometheus):
    engine = make_engine().start()
    points = import_samples(engine)
    prometheus = make_prometheus(
        f"remote_read:\n  - url: {engine.url}/api/v1/read\n    read_recent: true\n")
    for expression in ('e2e_gauge', 'rate(e2e_total[5m])', 'sum_over_time(e2e_gauge[30m])',
                       'max by (path) (max_over_time(e2e_gauge[1h]))', 'e2e_total{path=~"/.*"}'):
        # Between two samples: Prometheus 2 takes the left edge of a range in, 3 (and we) do not.
        at = points[-1][0] / 1000 + 7
        ours = engine.query(expression, at)
        url = prometheus.url + "/api/v1/query?" + urllib.parse.urlencode(
            {"query": expression, "time": at})
        with urllib.request.urlopen(url, timeout=30) as reply:
            theirs = [(item["metric"], float(item["value"][1]))
                      for item in json.load(reply)["data"]["result"]]
        assert ours and len(ours) == len(theirs), expression
        for (our_labels, our_value), (their_labels, their_value) in zip(ours, theirs):
            assert our_labels == their_labels
            assert our_value == pytest.approx(their_value, rel=1e-12), expression
    engine.stop()


@pytest.mark.parametrize("accepted", [[], ["samples"], ["streamed", "samples"]])
def test_remote_read_frames(make_engine, accepted):
    """Sampled and streamed replies hold the same samples; frames follow upstream's rules."""
    engine = make_engine().start()
    points = import_samples(engine, count=500)
    start_ms, end_ms = points[0][0], points[-1][0]
    body = remote_read.request(start_ms, end_ms, [("=", "__name__", "e2e_gauge")], accepted)
    status, headers, reply = engine.request(
        "/api/v1/read", body, method="POST",
        headers={"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
                 "X-Prometheus-Remote-Read-Version": "0.1.0"})
    assert status == 200, reply
    if "streamed" in accepted:
        assert headers["Content-Type"].startswith(
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
        assert "Content-Encoding" not in headers
        series = remote_read.decode_streamed(reply)
    else:
        assert headers["Content-Encoding"] == "snappy"
        series = remote_read.decode_sampled(reply)
    assert len(series) == 1
    labels, samples = series[0]
    assert labels == [("__name__", "e2e_gauge"), ("path", "/a")]
    assert samples == [(t_ms, gauge) for t_ms, _, gauge in points]
    engine.stop()


def test_prometheus_scrapes_us(make_engine, make_prometheus):
    engine = make_engine().start()
    prometheus = make_prometheus(
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: tocsin\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{engine.port}']}}]\n")
    wait_for("our target is up", lambda: any(
        value == 1 for _, value in prometheus.query('up{job="tocsin"}')), 30)
    assert prometheus.query("tocsin_build_info")
    assert prometheus.query("process_resident_memory_bytes")[0][1] > 1e6
    engine.stop()


def test_prometheus_writes_to_us(make_engine, make_prometheus):
    engine = make_engine().start()
    prometheus = make_prometheus(
        "global: {scrape_interval: 1s, external_labels: {from: prom}}\nscrape_configs:\n"
        "  - job_name: self\n    static_configs: [{targets: ['127.0.0.1:%d']}]\n"
        "remote_write:\n  - url: %s/api/v1/write\n    queue_config: {batch_send_deadline: 500ms}\n"
        "    metadata_config: {send_interval: 1s}\n" % (engine.port, engine.url))
    wait_for("samples arrive", lambda: engine.query('up{job="self",from="prom"}'), 40)
    wait_for("more samples arrive",
             lambda: (engine.value('count_over_time(up{job="self",from="prom"}[1m])') or 0) >= 5, 40)
    failed = prometheus.query("prometheus_remote_storage_samples_failed_total")
    assert not failed or failed[0][1] == 0
    metadata = wait_for("metadata arrives", lambda: engine.get(
        "/api/v1/metadata?metric=tocsin_build_info")["data"], 30)
    assert metadata["tocsin_build_info"][0]["type"] == "gauge"
    engine.stop()


def promtool(*arguments, data=None):
    return subprocess.run(["promtool", *arguments], input=data, capture_output=True, cwd=ROOT,
                          check=False)


def test_promtool(make_engine):
    engine = make_engine().start()
    points = import_samples(engine)
    at = str(points[-1][0] / 1000)
    instant = promtool("query", "instant", f"--time={at}", engine.url, "e2e_total")
    assert instant.returncode == 0, instant.stderr
    assert b'e2e_total{path="/a"} => 717' in instant.stdout
    ranged = promtool("query", "range", f"--start={float(at) - 600}", f"--end={at}", "--step=60s",
                      engine.url, "rate(e2e_total[5m])")
    assert ranged.returncode == 0 and b"e2e_total" not in ranged.stdout, ranged
    values = [float(line.split()[0]) for line in ranged.stdout.decode().splitlines()[1:]]
    assert len(values) == 11 and all(value == pytest.approx(0.2) for value in values), ranged
    series = promtool("query", "series", "--match=e2e_total", engine.url)
    assert series.returncode == 0 and b"e2e_total" in series.stdout, series
    labels = promtool("query", "labels", engine.url, "path")
    assert labels.returncode == 0 and b"/a" in labels.stdout, labels

    files = sorted(name for name in os.listdir(os.path.join(ROOT, "rules.d"))
                   if name.endswith(".yml"))
    assert files
    checked = promtool("check", "rules", *(f"rules.d/{name}" for name in files))
    assert checked.returncode == 0, checked.stderr

    _, _, metrics = engine.request("/metrics")
    check = promtool("check", "metrics", data=metrics)
    assert check.returncode == 0 and not check.stderr, check.stderr
    engine.stop()


def test_openmetrics(make_engine):
    engine = make_engine().start()
    _, headers, body = engine.request(
        "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert "tocsin_build_info" in names or "tocsin_build" in names
    engine.stop()
