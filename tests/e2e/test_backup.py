"""Backup beside a running engine, and back.

Method: a writer pushes samples without pause and notes what was acknowledged and when. Whatever
was acknowledged before a backup began must be in it; what comes back is opened by the real binary
and compared with the notes, sample by sample.
"""

import json
import subprocess
import threading
import time

from engine import BINARY, wait_for

SERIES = 20


class Writer(threading.Thread):
    """Pushes one sample per series and round; `acked` has (round, time ms, wall clock of the ack)."""

    def __init__(self, engine):
        super().__init__(daemon=True)
        self.engine = engine
        self.acked = []
        self.stopping = threading.Event()
        self.first = 0
        self.start_ms = int(time.time() * 1000) - 3_600_000

    def time_of(self, number):
        return self.start_ms + number * 100

    def run(self):
        number = self.first
        while not self.stopping.is_set():
            number += 1
            t_ms = self.time_of(number)
            lines = "".join(f'drill{{s="{s}"}} {number * 1000 + s} {t_ms}\n' for s in range(SERIES))
            try:
                status, _, _ = self.engine.request("/api/v1/import/prometheus", lines.encode(),
                                                   method="POST")
            except OSError:
                return  # killed
            if status == 204:
                self.acked.append((number, t_ms, time.time()))

    def stop(self):
        self.stopping.set()
        self.join(10)


def tocsin(*arguments, **options):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, check=False,
                          timeout=120, **options)


def dump(directory):
    """{series: {time ms: value}} of what a data directory holds of the drill."""
    done = tocsin("tsdb", "dump", "--match=drill", directory)
    assert done.returncode == 0, done.stderr
    samples = {}
    for line in done.stdout.decode().splitlines():
        labels, value, t_ms = line.rsplit(" ", 2)
        series = int(labels.split('s="')[1].split('"')[0])
        assert int(t_ms) not in samples.setdefault(series, {}), line
        samples[series][int(t_ms)] = float(value)
    return samples


def check_rounds(samples, writer, at_least, exactly=False):
    """Every series has the same rounds 1..n without a gap, all of `at_least` among them."""
    count = len(samples.get(0, {}))
    assert count >= at_least, f"{count} rounds came back, {at_least} were acknowledged"
    if exactly:
        assert count == at_least
    expected = [writer.time_of(number) for number in range(1, count + 1)]
    for series in range(SERIES):
        have = samples.get(series, {})
        assert sorted(have) == expected, f"series {series}"
        for number in range(1, count + 1):
            assert have[writer.time_of(number)] == number * 1000 + series
    return count


def write_for(writer, rounds):
    target = len(writer.acked) + rounds
    deadline = time.monotonic() + 60
    while len(writer.acked) < target:
        assert time.monotonic() < deadline and writer.is_alive()
        time.sleep(0.01)


def test_backups_under_load(make_engine, tmp_path):
    engine = make_engine("--self.scrape-interval=0").start()
    writer = Writer(engine)
    writer.start()
    write_for(writer, 30)
    known = []
    for i in range(8):
        known.append(writer.acked[-1][0])
        if i % 2 == 0:
            done = tocsin("backup", f"--storage.path={engine.directory}", tmp_path / f"b{i}")
        else:
            with open(tmp_path / f"b{i}", "wb") as stream:
                done = subprocess.run([BINARY, "backup", f"--storage.path={engine.directory}", "-"],
                                      stdout=stream, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, done.stderr
        write_for(writer, 20)
    writer.stop()
    engine.kill()
    for i in range(8):
        done = tocsin("restore", f"--into={tmp_path / f'r{i}'}", tmp_path / f"b{i}")
        assert done.returncode == 0, done.stderr
        # All samples of a request came in one commit: every series must have the same rounds.
        check_rounds(dump(tmp_path / f"r{i}"), writer, known[i])
    # and one is put to work
    restored = make_engine("--self.scrape-interval=0", directory=tmp_path / "r7").start()
    assert restored.value('count(count_over_time(drill[2h]))') == SERIES
    assert restored.request("/api/v1/import/prometheus", b"drill_after 1\n", method="POST")[0] == 204
    assert restored.stop() == 0


def test_killed_backups_are_no_backups(make_engine, tmp_path):
    engine = make_engine("--self.scrape-interval=0").start()
    writer = Writer(engine)
    writer.start()
    write_for(writer, 50)
    started = time.monotonic()
    assert tocsin("backup", f"--storage.path={engine.directory}", tmp_path / "timed").returncode == 0
    duration_s = time.monotonic() - started
    whole = 0
    for i in range(30):
        acked = writer.acked[-1][0]
        target = tmp_path / "all" / f"b{i}"
        process = subprocess.Popen([BINARY, "backup", "--quiet",
                                    f"--storage.path={engine.directory}", target])
        if i < 29:
            time.sleep(duration_s * i / 15)  # some moment of its short life
            process.kill()
        process.wait()
        if not target.exists():
            continue
        whole += 1
        done = tocsin("restore", f"--into={tmp_path / f'r{i}'}", target)
        assert done.returncode == 0, done.stderr
        check_rounds(dump(tmp_path / f"r{i}"), writer, acked)
    writer.stop()
    listed = json.loads(tocsin("backup", "ls", "--json", tmp_path / "all").stdout)
    assert sum(entry["whole"] for entry in listed) == whole
    assert all(entry["whole"] != entry["name"].endswith(".tmp") for entry in listed)
    assert whole > 0, "every single one was killed before its end"
    assert engine.stop() == 0


def test_drill_to_a_second(make_engine, tmp_path):
    """Ingest, base backup, ship on, kill -9, restore to a second: exactly what was committed by then.

    A commit's time lies between sending and acknowledgement, so a second that falls into a pause of
    the writer has one right answer.
    """
    ship = tmp_path / "ship"
    engine = make_engine("--self.scrape-interval=0", f"--storage.journal-ship-dir={ship}").start()
    moments = []
    writer = Writer(engine)
    writer.start()
    write_for(writer, 20)
    assert tocsin("backup", f"--storage.path={engine.directory}", tmp_path / "all" / "b0").returncode == 0
    acked = []
    for part in range(4):
        write_for(writer, 25)
        if part == 2:
            assert tocsin("backup", f"--storage.path={engine.directory}",
                          tmp_path / "all" / "b1").returncode == 0
        writer.stop()
        acked += writer.acked
        time.sleep(0.02)
        moments.append((int(time.time() * 1000), acked[-1][0]))
        time.sleep(0.02)
        following = Writer(engine)
        following.start_ms = writer.start_ms
        following.first = acked[-1][0]
        writer = following
        writer.start()
    write_for(writer, 10)
    caught_up = "tocsin_tsdb_ship_caught_up_timestamp_seconds"
    wait_for("the journal was shipped",
             lambda: metric(engine, caught_up) * 1000 > moments[-1][0], 20)
    engine.kill()
    writer.stop()
    for i, (moment_ms, rounds) in enumerate(moments):
        into = tmp_path / f"r{i}"
        done = tocsin("restore", f"--into={into}", f"--journal={ship}", f"--to={moment_ms}",
                      tmp_path / "all")
        assert done.returncode == 0, done.stderr
        check_rounds(dump(into), writer, rounds, exactly=True)
    # the last second: everything acknowledged two seconds before the disk was lost
    done = tocsin("restore", f"--into={tmp_path / 'end'}", f"--journal={ship}", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    check_rounds(dump(tmp_path / "end"), writer, moments[-1][1])
    restored = make_engine("--self.scrape-interval=0", f"--storage.journal-ship-dir={ship}",
                           directory=tmp_path / "r2").start()
    assert restored.value("count(count_over_time(drill[2h]))") == SERIES
    wait_for("it ships its own", lambda: len(list(ship.iterdir())) == 2, 10)
    assert restored.stop() == 0


def test_verify_tells_and_marks(make_engine, tmp_path):
    engine = make_engine().start()
    wait_for("samples of its own", lambda: engine.query("up") or engine.query("node_load1"), 20)
    backups = tmp_path / "all"
    assert tocsin("backup", f"--storage.path={engine.directory}", backups / "b").returncode == 0
    assert engine.stop() == 0
    assert tocsin("backup", "ls", "--check-policy", backups).returncode == 1
    done = tocsin("verify", backups / "b")
    assert done.returncode == 0, done.stdout
    assert tocsin("backup", "ls", "--check-policy", backups).returncode == 0
    listed = json.loads(tocsin("backup", "ls", "--json", backups).stdout)
    assert listed[0]["verified_ms"] > 0
    path = backups / "b" / "store" / "data.mdb"
    with open(path, "r+b") as handle:
        handle.seek(5000)
        byte = handle.read(1)
        handle.seek(5000)
        handle.write(bytes([byte[0] ^ 4]))
    done = tocsin("verify", backups / "b")
    assert done.returncode == 1 and b"store/data.mdb" in done.stdout
    with open(path, "r+b") as handle:
        handle.truncate(path.stat().st_size // 2)
    done = tocsin("verify", backups / "b")
    assert done.returncode == 1 and b"store/data.mdb" in done.stdout


def test_scheduled_backups(make_engine, tmp_path):
    backups = tmp_path / "all"
    ship = tmp_path / "ship"
    engine = make_engine(f"--backup.dir={backups}", "--backup.interval=1s", "--backup.keep=3s",
                         f"--storage.journal-ship-dir={ship}").start()

    def verified():
        done = tocsin("backup", "ls", "--json", backups)
        return [e for e in json.loads(done.stdout) if e["verified_ms"]] if done.stdout else []

    wait_for("two verified backups", lambda: len(verified()) >= 2, 60)
    first = verified()[0]["name"]
    wait_for("the oldest one goes", lambda: first not in [e["name"] for e in verified()], 60)
    assert metric(engine, "tocsin_backup_last_success") == 1
    assert metric(engine, "tocsin_backup_last_size_bytes") > 0
    newest = metric(engine, "tocsin_backup_last_verified_timestamp_seconds")
    assert time.time() - newest < 60
    assert engine.stop() == 0
    # a newer one that the shipped journal cannot go on from is passed over
    done = tocsin("backup", "--skip-head", f"--storage.path={tmp_path / 'data'}", backups / "sealed")
    assert done.returncode == 0, done.stderr
    done = tocsin("restore", f"--into={tmp_path / 'r'}", f"--journal={ship}", backups)
    assert done.returncode == 0, done.stderr
    # it goes on where it was, whatever is in the way
    blocked = make_engine(f"--backup.dir={tmp_path / 'file'}", "--backup.interval=1s",
                          directory=tmp_path / "r")
    (tmp_path / "file").write_text("not a directory")
    blocked.start()
    wait_for("the failure shows", lambda: metric(blocked, "tocsin_backup_failures_total") > 0, 30)
    assert blocked.request("/-/ready")[0] == 200
    assert blocked.stop() == 0


def test_snapshot_as_prometheus(make_engine, tmp_path):
    path = "/api/v1/admin/tsdb/snapshot"
    engine = make_engine().start()
    status, _, body = engine.request(path, method="POST")
    assert status == 500
    assert json.loads(body) == {"status": "error", "errorType": "unavailable",
                                "error": "admin APIs disabled"}
    assert engine.stop() == 0
    engine = make_engine("--web.enable-admin-api", "--self.scrape-interval=1s").start()
    wait_for("samples of its own", lambda: engine.query("node_load1"), 20)
    for method, query in (("POST", ""), ("PUT", "?skip_head=true"), ("POST", "?skip_head=0")):
        status, _, body = engine.request(path + query, method=method)
        assert status == 200, body
        name = json.loads(body)["data"]["name"]
        stamp, digits = name.split("-")
        assert len(stamp) == 16 and stamp.endswith("Z") and len(digits) == 16
        directory = tmp_path / "data" / "snapshots" / name
        assert tocsin("verify", directory).returncode == 0
        has_samples = tocsin("tsdb", "dump", "--match=node_load1", directory).stdout != b""
        assert has_samples == ("true" not in query)
    status, _, body = engine.request(path + "?skip_head=maybe", method="POST")
    assert status == 400 and json.loads(body)["errorType"] == "bad_data"
    assert "unable to parse boolean" in json.loads(body)["error"]
    assert engine.request(path)[0] == 405
    assert engine.stop() == 0


def metric(engine, name):
    for line in engine.request("/metrics")[2].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return 0.0
