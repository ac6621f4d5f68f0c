"""The offline tools: what they print is what promtool prints, what they write others read.

Goal: dump, list, export and import agree with Prometheus' and VictoriaMetrics' own programs, bit by
bit, on a stopped directory and beside a running server. Method: the same page goes into our store
and into promtool's, and both are dumped; seeds are printed.
"""

import json
import os
import random
import stat
import subprocess
import urllib.parse
import urllib.request

from engine import BINARY, free_port, wait_for

SPECIAL = ["NaN", "+Inf", "-Inf", "-0", "5e-324", "1e21", "1e6", "1e-7", "123456789012345680000",
           "0.1", "1.7976931348623157e+308"]
QUIET = ("--self.scrape-interval=0", "--self.host-metrics=false", "--storage.tsdb.retention.time=0s")


def tocsin(*arguments, data=None, code=0):
    done = subprocess.run([BINARY, *map(str, arguments)], input=data, capture_output=True, check=False,
                          timeout=60)
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


def export(directory, tmp_path, kind, *arguments):
    out = tmp_path / f"out.{kind}"
    tocsin("tsdb", "export", f"--format={kind}", "-o", out, *arguments, directory)
    return out


def bits(directory, *arguments):
    return tocsin("tsdb", "dump", "--bits", *arguments, directory).stdout


def stored_page(make_engine, seed, directory=None):
    engine = make_engine(*QUIET, directory=directory).start()
    body = page(seed)
    load(engine, body)
    engine.stop()
    return engine.directory


def test_openmetrics_round_trip(make_engine, tmp_path):
    """Ours -> OpenMetrics -> promtool's store is the same dump; and back into ours, bit by bit."""
    directory = stored_page(make_engine, random.randrange(1 << 32))
    out = export(directory, tmp_path, "openmetrics")
    ours = tocsin("tsdb", "dump", directory).stdout
    assert promtool_dump(tmp_path, out.read_bytes()) == ours
    for source, data in ((out, None), ("-", out.read_bytes())):
        copy = tmp_path / f"copy{len(str(source))}"
        done = tocsin("tsdb", "import", source, copy, data=data)
        assert b"2800 written, 0 there before, 0 refused" in done.stderr
        assert bits(copy) == bits(directory)
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    assert [family.name for family in text_string_to_metric_families(out.read_text())] == ["m"]


def test_output_replaces_files_only(make_engine, tmp_path):
    """-o FILE appears complete; a pipe is written to and stays a pipe; a directory is refused."""
    directory = stored_page(make_engine, seed=5)
    expected = tocsin("tsdb", "export", directory).stdout
    out = tmp_path / "out.om"
    out.write_text("old")
    tocsin("tsdb", "export", "-o", out, directory)
    assert out.read_bytes() == expected and not (tmp_path / "out.om.partial").exists()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    copy = tmp_path / "copy"
    with copy.open("wb") as sink, subprocess.Popen(["cat", str(pipe)], stdout=sink):
        tocsin("tsdb", "export", "-o", pipe, directory)
    assert copy.read_bytes() == expected and stat.S_ISFIFO(pipe.stat().st_mode)
    assert b"Is a directory" in tocsin("tsdb", "export", "-o", tmp_path, directory, code=1).stderr


def test_jsonl_round_trip(make_engine, tmp_path):
    """Lines of JSON keep stale markers too."""
    engine = make_engine(*QUIET).start()
    load(engine, page(seed=2))
    status, _, reply = engine.request("/api/v1/import/prometheus", b"m 1 1790000000000\n", None, "POST")
    assert status == 204, reply
    engine.stop()
    directory = engine.directory
    lines = export(directory, tmp_path, "jsonl").read_bytes().splitlines()
    first = json.loads(lines[0])
    first["nans"] = first.get("nans", []) + [[len(first["values"]), "7ff0000000000002"]]
    first["values"].append(None)
    first["timestamps"].append(first["timestamps"][-1] + 1)
    source = tmp_path / "stale.jsonl"
    source.write_bytes(b"\n".join([json.dumps(first).encode(), *lines[1:]]) + b"\n")
    copy = tmp_path / "copy"
    tocsin("tsdb", "import", "--format=jsonl", source, copy)
    assert bits(copy).count(b" 7ff0000000000002 ") == 1
    again = export(copy, tmp_path, "jsonl")
    other = tmp_path / "other"
    tocsin("tsdb", "import", "--format=jsonl", again, other)
    assert bits(other) == bits(copy)
    text = tocsin("tsdb", "export", copy)
    assert b"1 stale markers left out" in text.stderr


def test_import_is_refused_while_served(make_engine, tmp_path):
    engine = make_engine(*QUIET).start()
    source = tmp_path / "a.om"
    source.write_bytes(page(seed=3))
    done = tocsin("tsdb", "import", source, engine.directory, code=4)
    assert f"in use by process {engine.process.pid}".encode() in done.stderr
    done = tocsin("tsdb", "import", f"--url={engine.url}/", source)
    assert b"2800 written" in done.stderr
    assert tocsin("tsdb", "dump", engine.directory).stdout == promtool_dump(tmp_path, page(seed=3))
    engine.stop()


def test_import_names_what_it_refuses(tmp_path):
    source = tmp_path / "bad.txt"
    long = "v" * 5000
    many = ",".join(f'l{n}="x"' for n in range(70))
    source.write_text('ok 1 1000\nb{x="1",x="2"} 1 1\nc{x="%s"} 1 1\nd{%s} 1 1\n'
                      'ok 1 99999999999999\nok 2 2000\nok 3 2000\n' % (long, many))
    done = tocsin("tsdb", "import", "--format=text", source, tmp_path / "d", code=1)
    said = done.stderr.decode()
    assert "7 samples read: 2 written, 0 there before, 5 refused" in said, said
    assert f'3 with labels that are not allowed; the first: {source}:2: label "x"' in said
    assert f"{source}:5: ok" in said and f"{source}:7: ok" in said
    source.write_text("ok 1 1000\nok x 3000\n")
    done = tocsin("tsdb", "import", "--format=text", source, tmp_path / "d", code=1)
    assert f"{source}:2:4: expected a value" in done.stderr.decode()
    assert b"1 there before" in done.stderr


def test_victoria_metrics_takes_our_lines(make_engine, tmp_path):
    """Our JSON into VictoriaMetrics and back; it keeps values to 15 digits or so, NaNs not at all."""
    port = free_port()
    peer = subprocess.Popen(
        ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
         f"-storageDataPath={tmp_path / 'vm'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"

        def fetch(path, data=None):
            with urllib.request.urlopen(url + path, data=data, timeout=20) as reply:
                return reply.read()

        def is_up():
            try:
                return fetch("/health")
            except OSError:
                return False

        wait_for("VictoriaMetrics", is_up)
        draw = random.Random(4)
        source = tmp_path / "plain.om"
        source.write_text("".join(
            f'm{{a="{number}"}} {draw.randrange(-10**6, 10**6) / 8} {1_790_000_000 + step * 15}.250\n'
            for number in range(5) for step in range(500)) + "# EOF\n")
        ours = tmp_path / "ours"
        tocsin("tsdb", "import", source, ours)
        fetch("/api/v1/import", export(ours, tmp_path, "jsonl").read_bytes())
        fetch("/internal/force_flush")
        query = urllib.parse.urlencode({"match[]": "m", "start": 1_780_000_000, "end": 1_800_000_000})
        theirs = wait_for("all samples", lambda: (lambda text: text if text.count(b"timestamps") == 5
                                                  else None)(fetch("/api/v1/export?" + query)))
        back = tmp_path / "back.jsonl"
        back.write_bytes(theirs)
        done = tocsin("tsdb", "import", "--format=jsonl", back, tmp_path / "back")
        assert b"2500 written" in done.stderr
        assert bits(tmp_path / "back") == bits(ours)
    finally:
        peer.kill()
        peer.wait()


def test_remote_read_import(make_engine, tmp_path):
    """Debian's Prometheus serves promtool's blocks; we read them over remote read."""
    body = page(seed=random.randrange(1 << 32), series=3)
    body = body.replace(b" -0 ", b" 0 ")  # its protobuf leaves zeros out, the negative one too
    expected = promtool_dump(tmp_path, body)
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {}\n")
    port = free_port()
    peer = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'blocks'}",
         "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"

        def is_up():
            try:
                with urllib.request.urlopen(url + "/-/ready", timeout=5) as reply:
                    return reply.status == 200
            except OSError:
                return False

        wait_for("Prometheus", is_up)
        span = ("--min-time=2026-09-21T00:00:00Z", "--max-time=1790100000000")
        ours = tmp_path / "ours"
        tocsin("tsdb", "import", f"--remote-read={url}/api/v1/read", *span, "--match=m", ours)
        assert tocsin("tsdb", "dump", ours).stdout == expected
        out = tmp_path / "out.jsonl"
        tocsin("tsdb", "export", f"--url={url}", "--format=jsonl", "-o", out, *span)
        tocsin("tsdb", "import", "--format=jsonl", out, tmp_path / "again")
        assert bits(tmp_path / "again") == bits(ours)
        tocsin("tsdb", "export", f"--url={url}", *span, code=2)
        done = tocsin("tsdb", "import", f"--remote-read={url}/nowhere", *span, ours, code=1)
        assert b"status 404" in done.stderr
    finally:
        peer.kill()
        peer.wait()


def sections(text):
    """The lists of promtool tsdb analyze: title -> sorted lines."""
    found = {}
    title = None
    for line in text.decode().splitlines():
        if line.endswith(":") and not line[0].isdigit():
            title = line
            found[title] = []
        elif line and title:
            found[title].append(line)
    return {title: sorted(lines) for title, lines in found.items()}


def test_analyze_agrees_with_promtool(tmp_path):
    """One block of data: the lists are the same lines, churn included."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    start_s = 1_790_000_000 // 7200 * 7200
    lines = []
    for number in range(200):
        name = f"m{draw.randrange(20)}"
        labels = f'instance="i{draw.randrange(9)}",id="{number}",zone="{"abc"[draw.randrange(3)]}"'
        first, last = sorted(draw.sample(range(0, 470), 2))
        lines += [f"{name}{{{labels}}} 1 {start_s + step * 15}" for step in range(first, last)]
    body = "\n".join([*lines, "# EOF", ""]).encode()
    promtool_dump(tmp_path, body)
    theirs = subprocess.run(["promtool", "tsdb", "analyze", "--limit=100000", str(tmp_path / "blocks")],
                            check=True, capture_output=True).stdout
    ours = tmp_path / "ours"
    tocsin("tsdb", "import", tmp_path / "blocks.om", ours)
    said = tocsin("tsdb", "analyze", "--limit=100000", ours).stdout
    expected = sections(theirs)
    got = sections(said)
    assert len(expected) >= 6, theirs
    for title, listed in expected.items():
        assert got[title] == listed, title
    assert f"Total Samples: {len(lines)}".encode() in said
    told = json.loads(tocsin("tsdb", "analyze", "--json", "--match", "m1", ours).stdout)
    assert [item["name"] for item in told["metricsSeries"]] == ["m1"]


def test_bench(tmp_path):
    told = json.loads(tocsin("tsdb", "bench", "--series=100", "--samples=50", "--json", tmp_path).stdout)
    assert told["series"] == 100 and told["samplesIngestedPerSecond"] > 0
    assert not list(tmp_path.iterdir()), "removes what it made"
    assert b"No such file" in tocsin("tsdb", "bench", tmp_path / "none", code=1).stderr


def test_import_in_any_order_and_again(tmp_path):
    """Lines shuffled, killed half way, run again: everything once; a third run writes nothing."""
    seed = random.randrange(1 << 32)
    body = page(seed, series=20, samples=6000)
    lines = body.split(b"\n")[1:-2]
    random.Random(seed).shuffle(lines)
    whole = tmp_path / "whole.om"
    whole.write_bytes(b"\n".join([*lines, b"# EOF", b""]))
    sorted_page = tmp_path / "sorted.om"
    sorted_page.write_bytes(body)
    tocsin("tsdb", "import", sorted_page, tmp_path / "expected")
    ours = tmp_path / "ours"
    process = subprocess.Popen([BINARY, "tsdb", "import", "-", str(ours)], stdin=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdin.write(whole.read_bytes())
    process.stdin.close()
    wait_for("a commit", lambda: (ours / "journal" / "data.mdb").exists())
    process.kill()
    process.wait()
    done = tocsin("tsdb", "import", whole, ours).stderr.decode()
    assert " 0 refused" in done, done
    assert bits(ours) == bits(tmp_path / "expected")
    done = tocsin("tsdb", "import", whole, ours).stderr.decode()
    assert "120000 samples read: 0 written, 120000 there before, 0 refused" in done
    assert bits(ours) == bits(tmp_path / "expected")
