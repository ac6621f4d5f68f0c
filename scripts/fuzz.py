"""Fuzz on demand: build every target with clang's libFuzzer and the sanitizers, run each for
FUZZ_SECONDS (default 60) on its corpus. New inputs stay in build-fuzz/corpus; a crash is written to
build-fuzz/crashes, to be minimised and added to tests/fuzz/corpus.
"""

import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build-fuzz")
SECONDS = os.environ.get("FUZZ_SECONDS", "60")


def main():
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        subprocess.run(
            ["meson", "setup", BUILD, "-Dfuzz=true", "-Db_sanitize=address,undefined",
             "-Db_lundef=false", "-Dbench=false"],
            cwd=ROOT, env={**os.environ, "CC": "clang", "CXX": "clang++"}, check=True)
    subprocess.run(["ninja", "-C", BUILD, "--quiet"], check=True)
    crashes = os.path.join(BUILD, "crashes")
    os.makedirs(crashes, exist_ok=True)
    failed = []
    for binary in sorted(glob.glob(os.path.join(BUILD, "tests", "fuzz", "fuzz_*"))):
        if not os.access(binary, os.X_OK) or os.path.isdir(binary):
            continue
        name = os.path.basename(binary)[len("fuzz_"):]
        work = os.path.join(BUILD, "corpus", name)
        os.makedirs(work, exist_ok=True)
        print(f"== {name}: {SECONDS} s", flush=True)
        code = subprocess.call(
            [binary, f"-max_total_time={SECONDS}", "-max_len=65536", "-timeout=5",
             "-rss_limit_mb=1024", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
             work, os.path.join(ROOT, "tests", "fuzz", "corpus", name)])
        if code != 0:
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "no target failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
