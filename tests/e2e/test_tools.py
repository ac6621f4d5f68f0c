"""The offline tools: what they print is what promtool prints, what they write others read.

Goal: dump, list, export and import agree with Prometheus' and VictoriaMetrics' own programs, bit by
bit, on a stopped directory and beside a running server. Method: the same page goes into our store
and into promtool's, and both are dumped; seeds are printed.
"""

import json
import random
import subprocess

from engine import BINARY

SPECIAL = ["NaN", "+Inf", "-Inf", "-0", "5e-324", "1e21", "1e6", "1e-7", "123456789012345680000",
           "0.1", "1.7976931348623157e+308"]
QUIET = ("--self.scrape-interval=0", "--self.host-metrics=false", "--storage.tsdb.retention.time=0s")


def tocsin(*arguments, data=None, code=0):
    done = subprocess.run([BINARY, *map(str, arguments)], input=data, capture_output=True, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done


def page(seed, series=7, samples=400, start_s=1_790_000_000):
    """OpenMetrics: special values, labels that need escapes, times between the seconds."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    lines = ["# TYPE m gauge"]
    for number in range(series):
        labels = f'Upper="ü",a="quote\\" slash\\\\ line\\n {number}",le="1.5"'
        t_ms = start_s * 1000
        for _ in range(samples):
            t_ms += draw.randrange(1, 60_000)
            value = draw.choice(SPECIAL) if draw.random() < 0.2 else repr(draw.uniform(-1e3, 1e3))
            lines.append(f"m{{{labels}}} {value} {t_ms // 1000}.{t_ms % 1000:03d}")
    return "\n".join([*lines, "# EOF", ""]).encode()


def load(engine, body):
    status, _, reply = engine.request(
        "/api/v1/import/prometheus", body, {"Content-Type": "application/openmetrics-text"}, "POST")
    assert status == 204, reply


def promtool_dump(tmp_path, body, name="blocks"):
    """What promtool's own store says about the page."""
    (tmp_path / f"{name}.om").write_bytes(body)
    blocks = tmp_path / name
    subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics",
                    str(tmp_path / f"{name}.om"), str(blocks)], check=True, capture_output=True)
    (blocks / "wal").mkdir()
    done = subprocess.run(["promtool", "tsdb", "dump", str(blocks)], check=True, capture_output=True)
    return done.stdout


def test_dump_agrees_with_promtool(make_engine, tmp_path):
    engine = make_engine(*QUIET).start()
    body = page(seed=random.randrange(1 << 32))
    load(engine, body)
    expected = promtool_dump(tmp_path, body)
    assert tocsin("tsdb", "dump", engine.directory).stdout == expected, "beside the server"
    engine.stop()
    assert tocsin("tsdb", "dump", engine.directory).stdout == expected, "stopped"
    one = tocsin("tsdb", "dump", "--match", '{a=~".* 3"}', "--match", '{a=~".* [34]"}',
                 engine.directory).stdout
    assert one == b"".join(line + b"\n" for line in expected.splitlines()
                           if b' 3", le' in line or b' 4", le' in line)


def test_list(make_engine):
    engine = make_engine(*QUIET).start()
    load(engine, page(seed=1))
    listed = json.loads(tocsin("tsdb", "list", "--json", engine.directory).stdout)
    assert listed["head"]["series"] == 7
    engine.stop()
    assert b"BYTES/SAMPLE" in tocsin("tsdb", "list", engine.directory).stdout


def test_usage():
    assert b"did you mean --match" in tocsin("tsdb", "dump", "--mach", "x", code=2).stderr
    assert b"2026-01-02T03:04:05Z" in tocsin("tsdb", "dump", "--min-time=x", code=2).stderr
    assert b"No such file" in tocsin("tsdb", "dump", "/nonexistent", code=1).stderr
    assert b"unexpected argument" in tocsin("tsdb", "list", "a", "b", code=2).stderr
