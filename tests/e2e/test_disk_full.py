"""A full disk: pushes get 507, reads and alerts go on, and it recovers by itself.

Method: the data directory is a small tmpfs of its own, filled and emptied from outside (needs the
right to mount; skipped where there is none).
"""

import os
import subprocess
import time

import pytest

from engine import wait_for

SIZE_MIB = 192


@pytest.fixture
def small_disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", directory],
                             capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("may not mount a file system here")
    yield directory
    subprocess.run(["umount", "-l", directory], check=False)


def push(engine, value):
    status, headers, body = engine.request(
        "/api/v1/import/prometheus", f"disk_total {value}\n".encode(), method="POST")
    return status, headers, body


def test_disk_full_and_back(make_engine, small_disk, tmp_path):
    rules = tmp_path / "r.yml"
    rules.write_text("groups: [{name: g, interval: 1s, rules: [{alert: Full, "
                     "expr: 'disk_total > 0'}]}]\n")
    engine = make_engine(f"--rules.path={rules}", directory=small_disk / "data").start()
    assert push(engine, 0)[0] == 204
    ballast = small_disk / "ballast"
    with open(ballast, "wb") as handle:
        free = os.statvfs(small_disk)
        # Less than --storage.reserve stays free: pushes stop, the reserve is for alerts.
        os.posix_fallocate(handle.fileno(), 0, free.f_bavail * free.f_bsize - (32 << 20))
    status, headers, body = wait_for(
        "pushes are refused", lambda: (lambda r: r if r[0] == 507 else None)(push(engine, 1)), 20, 0.2)
    assert int(headers["Retry-After"]) > 0
    assert b"disk" in body.lower() or b"space" in body.lower(), body
    assert engine.request("/ready")[0] == 503
    assert engine.value("disk_total") == 0, "reads go on"
    status, _, body = engine.request("/v1/events", b'{"kind":"request","app":"d","method":"GET",'
                                     b'"route":"/","status":200,"id":"1"}\n', method="POST")
    assert status == 507, body
    evaluated = engine.get("/api/v1/rules")["data"]["groups"][0]["lastEvaluation"]
    wait_for("rules go on", lambda: engine.get("/api/v1/rules")["data"]["groups"][0][
        "lastEvaluation"] != evaluated, 10)
    rule = engine.get("/api/v1/rules")["data"]["groups"][0]["rules"][0]
    assert rule["health"] == "ok", rule

    ballast.unlink()
    wait_for("pushes are taken again", lambda: push(engine, 2)[0] == 204, 20, 0.2)
    wait_for("and alert", lambda: any(a["state"] == "firing" for a in engine.alerts()), 15)
    wait_for("and ready", lambda: engine.request("/ready")[0] == 200, 10)
    time_before = time.time()
    assert engine.stop() == 0
    assert time.time() - time_before < 15
