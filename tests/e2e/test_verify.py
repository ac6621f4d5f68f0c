"""tocsin verify: live, stopped, and on files that are cut short.

Goal: the exit codes and the report of the verb, above all that a torn file is a finding and not a
crash. Method: a directory filled through the real server, then truncated and overwritten.
"""

import json
import pathlib
import shutil
import subprocess

from engine import BINARY

QUIET = ("--self.scrape-interval=0", "--self.host-metrics=false", "--storage.tsdb.retention.time=0s")


def verify(path, *flags, verb=("verify",)):
    done = subprocess.run([BINARY, *verb, *flags, str(path)], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def fill(engine):
    lines = [f'v{{s="{s}"}} {i}.5 {(1_790_000_000 + i * 15) * 1000}'
             for s in range(50) for i in range(300)]
    status, _, reply = engine.request("/api/v1/import/prometheus", "\n".join([*lines, ""]).encode(),
                                      {"Content-Type": "text/plain"}, "POST")
    assert status == 204, reply


def test_verify(make_engine, tmp_path):
    engine = make_engine(*QUIET).start()
    directory = pathlib.Path(engine.directory)
    fill(engine)
    code, out, _ = verify(directory)
    assert code == 0 and ", 0 problems" in out, out
    engine.stop()
    code, out, _ = verify(directory, "--json", verb=("tsdb", "verify"))
    report = json.loads(out)
    assert code == 0 and report["problems"] == [] and report["problemCount"] == 0
    assert report["samples"] + report["journalSamples"] == 15000

    code, _, said = verify(tmp_path / "nothing")
    assert code == 2 and "nothing" in said

    # Cut anywhere: found, never a crash of the verb itself.
    for part in ("journal", "store"):
        size = (directory / part / "data.mdb").stat().st_size
        for keep in (0, 100, 4096, 8192, size // 2, size - 4096):
            broken = tmp_path / f"cut-{part}-{keep}"
            shutil.copytree(directory, broken)
            with open(broken / part / "data.mdb", "r+b") as file:
                file.truncate(keep)
            code, out, said = verify(broken)
            assert code in (1, 2) or (keep == size - 4096 and code == 0), (part, keep, out, said)
            if keep >= 8192 and code == 1:
                assert f"{part}: " in out, (part, keep, out)

    # Noise over the middle of the file.
    broken = tmp_path / "noise"
    shutil.copytree(directory, broken)
    with open(broken / "journal" / "data.mdb", "r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size // 2))
    code, out, said = verify(broken)
    assert code in (1, 2), (out, said)
