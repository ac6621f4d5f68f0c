"""Deleting series through Prometheus' admin API, and retention by class.

Method: samples pushed as text, deleted by selector and time; the query API, the label API, a restart
after kill -9 and the directory itself must all agree that they are gone.
"""

import json
import subprocess
import time
import urllib.parse

from engine import BINARY

PATH = "/api/v1/admin/tsdb/delete_series"


def push(engine, lines):
    status, _, body = engine.request("/api/v1/import/prometheus", data="".join(lines).encode(),
                                     method="POST")
    assert status in (200, 204), body


def samples(engine, name):
    """All samples of the metric in the last hour."""
    return sum(value for _, value in engine.query(f"count_over_time({name}[1h])"))


def values(engine, label):
    return json.loads(engine.request(f"/api/v1/label/{label}/values")[2])["data"]


def test_delete_series(make_engine, tmp_path):
    engine = make_engine("--self.scrape-interval=0s").start()
    status, _, body = engine.request(PATH + "?match[]=gone", method="POST")
    assert status == 500 and json.loads(body)["error"] == "admin APIs disabled"
    assert engine.stop() == 0
    engine = make_engine("--web.enable-admin-api", "--self.scrape-interval=0s").start()
    now_ms = int(time.time() * 1000)
    times = [now_ms - 600000 + i * 10000 for i in range(60)]
    push(engine, [f'{name}{{job="{name}"}} {i} {t}\n' for name in ("gone", "kept", "cut")
                  for i, t in enumerate(times)])
    assert [samples(engine, name) for name in ("gone", "kept", "cut")] == [60, 60, 60]

    assert engine.request(PATH, method="POST")[0] == 400
    assert engine.request(PATH + "?match[]={job=~%22.*%22}", method="POST")[0] == 400
    assert engine.request(PATH + "?match[]=gone&start=x", method="POST")[0] == 400
    assert engine.request(PATH + "?match[]=gone", method="GET")[0] == 405
    assert engine.request(PATH + "?match[]=gone", method="POST")[0] == 204
    query = urllib.parse.urlencode({"match[]": "cut", "start": times[10] / 1000,
                                    "end": times[19] / 1000})
    assert engine.request(f"{PATH}?{query}", method="PUT")[0] == 204
    assert engine.request("/api/v1/admin/tsdb/clean_tombstones", method="POST")[0] == 204
    for _ in range(2):
        assert [samples(engine, name) for name in ("gone", "kept", "cut")] == [0, 60, 50]
        assert values(engine, "job") == ["cut", "kept"]
        engine.kill()
        engine.start()
    assert engine.stop() == 0
    dump = subprocess.run([BINARY, "tsdb", "dump", str(tmp_path / "data")], capture_output=True,
                          text=True, check=True).stdout
    assert dump.count("gone") == 0 and dump.count('"kept"') >= 60


def test_classes_are_checked(make_engine):
    bad = subprocess.run([BINARY, "serve", "--storage.retention-class=job=", "--storage.path=/tmp/x"],
                         capture_output=True, text=True, check=False)
    assert bad.returncode != 0 and "--storage.retention-class" in bad.stderr
    engine = make_engine('--storage.retention-class={job=~"cost.*"}=1y',
                         '--storage.retention-class={__name__="latency"}=14d').start()
    assert engine.stop() == 0


def test_clean_tombstones_does_what_waits(make_engine, tmp_path):
    """A finished day, backfilled, lies in windows until they are quiet; asked for, in one part."""
    engine = make_engine("--web.enable-admin-api", "--self.scrape-interval=0s").start()
    day_ms = 24 * 3600 * 1000
    midnight_ms = int(time.time() * 1000) // day_ms * day_ms - 3 * day_ms
    push(engine, [f"old {i} {midnight_ms + i * 300000}\n" for i in range(12 * 24)])
    assert engine.request("/api/v1/admin/tsdb/clean_tombstones", method="POST")[0] == 204
    assert engine.stop() == 0
    out = subprocess.run([BINARY, "tsdb", "list", "--json", str(tmp_path / "data")],
                         capture_output=True, text=True, check=True).stdout
    listed = json.loads(out)
    assert listed["head"]["series"] == 0, "all of it is sealed"
    windows = listed["windows"]
    assert [(w["end"] - w["start"] + 1, w["samples"]) for w in windows] == [(day_ms, 12 * 24)]
