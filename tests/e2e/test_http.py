"""The HTTP side over real sockets: what clients get, and what hostile ones do not.

Method: golden requests and replies, raw sockets for what no client library sends.
"""

import json
import os
import socket
import struct
import subprocess
import time
import urllib.parse

import pytest

import remote_read
from engine import BINARY, ROOT, wait_for

NOW = int(time.time())


@pytest.fixture
def engine(make_engine):
    return make_engine().start()


def load(engine, text):
    status, _, body = engine.request("/api/v1/import/prometheus", text.encode(), method="POST")
    assert status == 204, body


def raw(engine, data, timeout_s=10.0):
    """Everything the server answers to these bytes until it closes or pauses."""
    with socket.create_connection(("127.0.0.1", engine.port), timeout=timeout_s) as connection:
        connection.sendall(data)
        reply = b""
        try:
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return reply
                reply += piece
                head, _, rest = reply.partition(b"\r\n\r\n")
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:") and \
                            len(rest) >= int(line.split(b":")[1]):
                        return reply
        except TimeoutError:
            return reply


# ---- query API ----

def test_query_shapes(engine):
    load(engine, f'shape{{a="1"}} 1.5 {NOW * 1000}\nshape{{a="2"}} NaN {NOW * 1000}\n')
    ask = lambda q: engine.get(  # noqa: E731
        f"/api/v1/query?time={NOW}&query={urllib.parse.quote(q)}")["data"]
    assert ask("shape") == {"resultType": "vector", "result": [
        {"metric": {"__name__": "shape", "a": "1"}, "value": [NOW, "1.5"]},
        {"metric": {"__name__": "shape", "a": "2"}, "value": [NOW, "NaN"]}]}
    assert ask("absent_metric") == {"resultType": "vector", "result": []}
    assert ask("1/0") == {"resultType": "scalar", "result": [NOW, "+Inf"]}
    assert ask('"text"') == {"resultType": "string", "result": [NOW, "text"]}
    assert ask('shape{a="1"}[1m]') == {"resultType": "matrix", "result": [
        {"metric": {"__name__": "shape", "a": "1"}, "values": [[NOW, "1.5"]]}]}
    ranged = engine.get(f"/api/v1/query_range?query=shape%7Ba%3D%221%22%7D&start={NOW - 30}"
                        f"&end={NOW + 30}&step=15")["data"]
    assert ranged == {"resultType": "matrix", "result": [
        {"metric": {"__name__": "shape", "a": "1"},
         "values": [[NOW, "1.5"], [NOW + 15, "1.5"], [NOW + 30, "1.5"]]}]}


def test_get_and_post_agree(engine):
    body = urllib.parse.urlencode({"query": "1+1", "time": "4"}).encode()
    _, _, posted = engine.request("/api/v1/query", body, method="POST",
                                  headers={"Content-Type": "application/x-www-form-urlencoded"})
    _, _, got = engine.request("/api/v1/query?query=1%2B1&time=4")
    assert json.loads(posted) == json.loads(got)
    # vmalert: POST, empty body, parameters in the URL, a JSON content type.
    _, _, odd = engine.request("/api/v1/query?query=1%2B1&time=4&step=300s", b"", method="POST",
                               headers={"Content-Type": "application/json"})
    assert json.loads(odd) == json.loads(got)


@pytest.mark.parametrize("path,status,kind,needle", [
    ("/api/v1/query?query=sum(", 400, "bad_data", "parse error"),
    ("/api/v1/query", 400, "bad_data", "query"),
    ("/api/v1/query?query=up&time=yesterday", 400, "bad_data", "time"),
    ("/api/v1/query_range?query=up&start=0&end=100", 400, "bad_data", "step"),
    ("/api/v1/query_range?query=up&start=100&end=0&step=1", 400, "bad_data", "end"),
    ("/api/v1/query_range?query=up&start=0&end=100&step=0", 400, "bad_data", "step"),
    ("/api/v1/query_range?query=up&start=0&end=1000000&step=1", 400, "bad_data", "11,000"),
    ("/api/v1/query_range?query=up[5m]&start=0&end=10&step=1", 400, "bad_data", "range"),
    ("/api/v1/series", 400, "bad_data", "match[]"),
    ("/api/v1/series?match[]=%7B%7D", 400, "bad_data", "match"),
    ("/api/v1/query?query=label_replace(up,%22a%22,%22b%22,%22c%22,%22(%22)", 422, "execution", ""),
    ("/api/v1/rules?type=other", 400, "bad_data", "type"),
])
def test_errors(engine, path, status, kind, needle):
    got, headers, body = engine.request(path)
    document = json.loads(body)
    assert (got, document["status"], document["errorType"]) == (status, "error", kind), document
    assert needle in document["error"]
    assert headers["Content-Type"] == "application/json"


def test_discovery(engine):
    load(engine, "# HELP disc_total Things.\n# TYPE disc_total counter\n"
                 f'disc_total{{b="x"}} 1 {NOW * 1000}\ndisc_total{{b="y",c="z"}} 2 {NOW * 1000}\n')
    series = engine.get("/api/v1/series?match[]=disc_total")["data"]
    assert series == [{"__name__": "disc_total", "b": "x"},
                      {"__name__": "disc_total", "b": "y", "c": "z"}]
    assert engine.get("/api/v1/labels?match[]=disc_total")["data"] == ["__name__", "b", "c"]
    assert engine.get("/api/v1/label/b/values")["data"] == ["x", "y"]
    assert engine.get("/api/v1/label/b/values?match[]=%7Bc=%22z%22%7D")["data"] == ["y"]
    limited = engine.get("/api/v1/label/b/values?limit=1")
    assert limited["data"] == ["x"] and limited["warnings"]
    assert engine.get("/api/v1/metadata?metric=disc_total")["data"] == {
        "disc_total": [{"type": "counter", "help": "Things.", "unit": ""}]}


def test_grafana_probes(engine):
    build = engine.get("/api/v1/status/buildinfo")["data"]
    assert build["version"] and "features" not in build
    assert engine.get("/api/v1/query?query=1%2B1&time=4")["data"]["result"] == [4, "2"]
    for path in ("/api/v1/rules", "/api/v1/alerts", "/api/v1/targets", "/api/v1/status/flags",
                 "/api/v1/status/config", "/api/v1/status/runtimeinfo", "/api/v1/status/tsdb",
                 "/api/v1/status/walreplay",
                 "/api/v1/query_exemplars?query=up&start=0&end=1", "/api/v1/metadata?limit=5"):
        assert engine.get(path)["status"] == "success", path


def test_writes_right_after_kill(engine):
    """The first request after each kill -9 is a write, while the journal may still be replayed."""
    def page(number):
        first = NOW * 1000 - 100 * 1000 + number * 1000
        return "".join(f'killed{{n="{i}"}} {number} {first}\n' for i in range(number, 20000))

    load(engine, page(0))
    for number in range(1, 4):
        engine.kill()
        engine.start()
        load(engine, page(number))
        load(engine, page(number))  # repeated
    engine.kill()
    engine.start()
    ask = lambda q: engine.get(  # noqa: E731
        f"/api/v1/query?time={NOW}&query={urllib.parse.quote(q)}")["data"]["result"][0]["value"][1]
    assert ask("sum(count_over_time(killed[5m]))") == str(4 * 20000 - 6)
    assert ask("sum(max_over_time(killed[5m]))") == str(3 * 20000 - 6)
    assert engine.get("/api/v1/status/walreplay")["data"]["state"] == "done"


def test_federate(engine):
    load(engine, f'fed_a{{instance="i",x="q\\"uote"}} 1 {NOW * 1000}\nfed_b 2.5 {NOW * 1000}\n')
    _, headers, body = engine.request('/federate?match[]=%7B__name__=~%22fed_.*%22%7D')
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert body.decode() == (
        f'# TYPE fed_a untyped\nfed_a{{instance="i",x="q\\"uote"}} 1 {NOW * 1000}\n'
        f'# TYPE fed_b untyped\nfed_b{{instance=""}} 2.5 {NOW * 1000}\n')
    assert engine.request("/federate")[0] == 200
    assert engine.request("/federate?match[]=%7B")[0] == 400


# ---- health ----

def test_health(engine):
    document = engine.get("/health")
    assert set(document) == {"status", "uptime_seconds", "memory_usage_mb", "cpu_percent",
                             "active_requests", "version"}
    assert document["status"] == "healthy" and document["memory_usage_mb"] > 1
    assert document["active_requests"] >= 1
    ready = engine.get("/ready")
    assert ready["ready"] is True
    assert set(ready["checks"]) == {"store", "rules", "notifier"}
    assert engine.request("/-/healthy")[0] == 200 and engine.request("/-/ready")[0] == 200


def test_every_reply_has_security_headers(engine):
    for path in ("/", "/health", "/nowhere", "/api/v1/query", "/metrics"):
        _, headers, _ = engine.request(path)
        assert headers["X-Frame-Options"] == "DENY", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "default-src 'none'" in headers["Content-Security-Policy"], path


# ---- hostile clients ----

@pytest.mark.parametrize("request_bytes,status", [
    (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
     b"400"),
    (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
     b"\r\n0\r\n\r\n", b"400"),
    (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"400"),
    (b"GET /health%00x HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    (b"GET /api/v1/label/a%00b/values HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    (b"DELETE /health HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
    (b"BREW /health HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
    (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
])
def test_refused(engine, request_bytes, status):
    reply = raw(engine, request_bytes)
    assert reply.split(b" ")[1] == status, reply[:300]
    assert engine.request("/health")[0] == 200


def test_bombs_and_garbage(engine):
    bomb = b"\xff\xff\xff\xff\x0f" + b"\x00" * 10
    for path in ("/api/v1/write", "/api/v1/read"):
        status, _, body = engine.request(
            path, bomb, method="POST", headers={
                "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"})
        assert status in (400, 413), body
    assert engine.request("/api/v1/write", b"x", method="POST", headers={
        "Content-Encoding": "gzip", "Content-Type": "application/x-protobuf"})[0] == 415
    assert engine.request("/api/v1/write", b"x", method="POST", headers={
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy"})[0] == 415
    status, _, body = engine.request("/api/v1/import/prometheus", b"ok 1\nbad{ 2\n", method="POST")
    assert status == 400 and b"2:" in body, body
    assert engine.value("ok") is None, "nothing of a malformed body is stored"


def test_out_of_order(make_engine, tmp_path):
    """The window of prometheus.yml counts, at reload too; a refusal names its series and is counted."""
    config = tmp_path / "prometheus.yml"
    window = "storage: {tsdb: {out_of_order_time_window: %s}}\n"
    config.write_text(window % "30m")
    engine = make_engine(f"--config.file={config}").start()
    minute = lambda n: (NOW - n * 60) * 1000  # noqa: E731

    def send(*samples):
        text = "".join(f'late{{a="b"}} {value} {minute(n)}\n' for n, value in samples)
        return engine.request("/api/v1/import/prometheus", text.encode(), method="POST")

    assert send((0, 1))[0] == 204
    assert send((29, 2), (10, 3), (20, 4))[0] == 204
    status, _, body = send((31, 5), (15, 6), (29, 2))
    assert status == 400 and b'out of order sample: late{a="b"}' in body, body
    status, _, body = send((10, 99))
    assert status == 400 and b"another value" in body, body
    config.write_text(window % "0s")
    assert engine.request("/-/reload", b"", method="POST")[0] == 200
    assert send((14, 7))[0] == 400
    assert send((29, 2), (10, 3), (20, 4), (0, 1))[0] == 204, "repetitions are no refusals"
    config.write_text(window % "10y")
    assert engine.request("/-/reload", b"", method="POST")[0] == 200
    assert send((60 * 24 * 7, 8))[0] == 204
    values = lambda: [float(v) for _, v in engine.get(  # noqa: E731
        f"/api/v1/query?time={NOW}&query=late[8d]")["data"]["result"][0]["values"]]
    assert values() == [8, 2, 4, 6, 3, 1]
    _, _, metrics = engine.request("/metrics")
    assert b"tocsin_tsdb_samples_out_of_order_total 5\n" in metrics
    for reason, count in (("out_of_order", 2), ("conflict", 1)):
        line = f'tocsin_ingest_refused_total{{door="import",reason="{reason}"}} {count}\n'
        assert line.encode() in metrics, metrics
    engine.kill()
    engine.start()
    wait_for("everything is there again", lambda: values() == [8, 2, 4, 6, 3, 1])
    config.write_text("storage: {tsdb: {out_of_order_time_windw: 1h}}\n")
    status, _, body = engine.request("/-/reload", b"", method="POST")
    assert status != 200 and b"out_of_order_time_window" in body, body


def test_events_verdicts(engine):
    lines = [
        {"kind": "request", "app": "v", "method": "GET", "route": "/", "status": 200,
         "duration_ms": 5, "id": "e1"},
        {"kind": "nonsense", "app": "v"},
        {"kind": "request", "app": "v", "method": "GET", "route": "/", "status": 200,
         "duration_ms": 5, "id": "e1"},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines) + "{not json\n"
    status, _, reply = engine.request("/v1/events", body.encode(), method="POST")
    document = json.loads(reply)
    assert status == 202, document
    assert (document["accepted"], document["duplicate"]) == (1, 1)
    assert [r["line"] for r in document["rejected"]] == [2, 4]
    assert all(r["reason"] for r in document["rejected"])
    wait_for("the counter is sampled", lambda: engine.value("v_requests_total") == 1, 20)


def test_slow_client_does_not_hold_others(engine):
    slow = socket.create_connection(("127.0.0.1", engine.port))
    slow.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
    started = time.monotonic()
    for _ in range(50):
        assert engine.request("/health")[0] == 200
    assert time.monotonic() - started < 10
    slow.close()


# ---- reload and life ----

def test_broken_rules_at_reload(make_engine, tmp_path):
    rules = tmp_path / "r.yml"
    good = "groups: [{name: g, interval: 1s, rules: [{alert: A, expr: vector(1)}]}]\n"
    rules.write_text(good)
    engine = make_engine(f"--rules.path={rules}").start()
    wait_for("alert fires", lambda: engine.alerts(), 10)
    active = engine.alerts()[0]["activeAt"]
    rules.write_text("groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: sum(\n")
    status, _, body = engine.request("/-/reload", b"", method="POST")
    assert status == 500 and b"r.yml:5:" in body, body
    assert engine.alerts()[0]["activeAt"] == active, "the old set keeps running"
    _, _, metrics = engine.request("/metrics")
    assert b"tocsin_config_last_reload_successful 0" in metrics
    assert "r.yml:5:" in engine.get("/api/v1/rules")["data"]["reloadError"]
    rules.write_text(good.replace("vector(1)", "vector(1)") + "# changed\n")
    assert engine.request("/-/reload", b"", method="POST")[0] == 200
    assert engine.alerts()[0]["activeAt"] == active, "a reload keeps running clocks"
    _, _, metrics = engine.request("/metrics")
    assert b"tocsin_config_last_reload_successful 1" in metrics
    assert engine.stop() == 0


def test_second_process_is_refused(engine):
    other = subprocess.run(
        [BINARY, "serve", f"--storage.path={engine.directory}", "--web.listen-address=127.0.0.1:0"],
        capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
    assert other.returncode == 1
    assert str(engine.process.pid) in other.stderr, other.stderr
    assert engine.request("/health")[0] == 200


def test_seed_rules_file_is_explained():
    text = '# prometheus/alerts.yml\n"""\nnotes\n"""\n\ngroups:\n  - name: g\n'
    path = "/tmp/seed-alerts-%d.yml" % os.getpid()
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    try:
        out = subprocess.run([BINARY, "check", "rules", path], capture_output=True, text=True,
                             check=False)
    finally:
        os.unlink(path)
    assert out.returncode == 1
    assert f"{path}:2:1: error:" in out.stderr and '"""' in out.stderr, out.stderr


def test_query_verbs(engine):
    load(engine, f'verb{{a="1"}} 42 {NOW * 1000}\n')
    out = subprocess.run([BINARY, "query", "instant", f"--time={NOW}", engine.url, "verb"],
                         capture_output=True, text=True, check=False)
    assert out.stdout == f'verb{{a="1"}} => 42 @[{NOW}]\n', out
    ranged = subprocess.run(
        [BINARY, "query", "range", f"--start={NOW}", f"--end={NOW + 60}", "--step=60s",
         engine.url, "verb"], capture_output=True, text=True, check=False)
    assert ranged.stdout == f'verb{{a="1"}} =>\n42 @[{NOW}]\n42 @[{NOW + 60}]\n', ranged
    bad = subprocess.run([BINARY, "query", "instant", engine.url, "sum("], capture_output=True,
                         text=True, check=False)
    assert bad.returncode == 1 and "parse error" in bad.stderr
    gone = subprocess.run([BINARY, "query", "instant", "http://127.0.0.1:1", "up"],
                          capture_output=True, text=True, check=False)
    assert gone.returncode == 4


def write_request(names_and_values, t_ms):
    """A WriteRequest of one sample per series {__name__, n}, snappy-compressed."""
    field = remote_read.field
    body = b""
    for name, number in names_and_values:
        labels = b"".join(field(1, field(1, key) + field(2, text))
                          for key, text in (("__name__", name), ("n", number)))
        sample = b"\x09" + struct.pack("<d", 1.0) + field(2, t_ms)
        body += field(1, labels + field(2, sample))
    return remote_read.snappy_literal(body)


def test_series_limit_of_a_metric(make_engine):
    """New series of the offender are refused by name; its known ones and other metrics go on."""
    engine = make_engine("--storage.series-per-metric-max=3", "--self.scrape-interval=0s").start()
    now_ms = NOW * 1000

    def write(t_ms, *series):
        return engine.request("/api/v1/write", write_request(series, t_ms), method="POST", headers={
            "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"})

    many = [("many", str(i)) for i in range(5)]
    assert write(now_ms - 3000, *many[:3], ("few", "0"))[0] == 204
    status, headers, body = write(now_ms - 2000, *many, ("few", "1"))
    assert status == 429 and b"many" in body and b"3" in body, body
    assert "Retry-After" in headers
    status, headers, body = engine.request("/api/v1/import/prometheus", b'many{n="9"} 1\n',
                                           method="POST")
    assert status == 429 and b"many" in body, body
    assert write(now_ms - 1000, *many[:3], ("few", "1"))[0] == 204
    ask = lambda q: engine.get(  # noqa: E731
        f"/api/v1/query?time={NOW}&query={urllib.parse.quote(q)}")["data"]["result"]
    assert ask("count(many)")[0]["value"][1] == "3"
    assert ask("count(few)")[0]["value"][1] == "2"
    assert sorted(r["value"][0] for r in ask("timestamp(many)")) == [NOW] * 3
    refused = [line for line in engine.request("/metrics")[2].splitlines()
               if line.startswith(b"tocsin_tsdb_series_refused_total")]
    assert refused[1] == b'tocsin_tsdb_series_refused_total{reason="series_per_metric_max"} 3'
