"""Run the whole suite and end with one line: N passed, N failed (, N skipped).

Stages, in order; each is a build directory of its own (build, build-clang, build-asan, build-tsan):
  gcc    warnings are errors; every meson suite: unit, promql, fuzz corpora, tidy, crash, soak
  clang  warnings are errors; compile everything; unit, promql, fuzz corpora
  asan   AddressSanitizer and UndefinedBehaviorSanitizer; unit, promql, fuzz corpora, soak
  tsan   ThreadSanitizer; unit, soak
  e2e    pytest over the gcc binary with real peers and clients

  python3 scripts/test.py [--only STAGE]...
"""

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

STAGES = {
    "gcc": {"dir": "build", "cc": "gcc", "options": [], "suites": None},
    "clang": {
        "dir": "build-clang", "cc": "clang", "options": [], "suites": ["unit", "promql", "fuzz"],
    },
    "asan": {
        "dir": "build-asan",
        "cc": "gcc",
        "options": ["-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized"],
        "suites": ["unit", "promql", "fuzz", "soak"],
    },
    "tsan": {
        "dir": "build-tsan",
        "cc": "gcc",
        "options": ["-Db_sanitize=thread", "-Dbuildtype=debugoptimized"],
        "suites": ["unit", "soak"],
    },
}

GOOD_RESULTS = {"OK", "SKIP", "EXPECTEDFAIL"}  # as meson's testlog.json has them


class Count:
    """Passed, failed and skipped test cases, with the names of the failures."""

    def __init__(self):
        self.passed = 0
        self.skipped = 0
        self.failures = []
        self.failed_suites = set()  # of the last JUnit file: suites and cases that failed

    def add_skips(self, path):
        """Unit tests that do not run here say "# skipped: …" and pass: count them as skipped."""
        with open(path, encoding="utf-8", errors="replace") as handle:
            skips = sum(line.startswith("# skipped: ") for line in handle)
        self.passed -= skips
        self.skipped += skips

    def add_junit(self, path, stage):
        """Add every case of a JUnit file; returns how many there were."""
        cases = 0
        self.failed_suites = set()
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            cases += 1
            if case.find("failure") is not None or case.find("error") is not None:
                self.failures.append(f"{stage}: {case.get('classname')} {case.get('name')}")
                self.failed_suites |= {case.get("classname"), "." + case.get("name")}
            elif case.find("skipped") is not None:
                self.skipped += 1
            else:
                self.passed += 1
        return cases

    def add_deaths(self, path, stage):
        """Add programs that failed without a failed case: those that died behind the last one."""
        with open(path, encoding="utf-8", errors="replace") as handle:
            for test in map(json.loads, handle):
                is_counted = any(name.endswith(f".{test['name']}") for name in self.failed_suites)
                if test["result"] not in GOOD_RESULTS and not is_counted:
                    self.failures.append(f"{stage}: {test['name']}: {test['result']}, "
                                         f"exit code {test.get('returncode')}")


def run(command, env=None):
    """Run a command with its output on ours; returns the exit code."""
    sys.stdout.flush()
    return subprocess.call(command, cwd=ROOT, env={**os.environ, **(env or {})})


def build(stage, spec):
    """Configure (once) and compile; returns True when it compiled without a warning."""
    directory = os.path.join(ROOT, spec["dir"])
    compilers = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}[spec["cc"]]
    options = ["-Dwerror=true", *spec["options"]]
    if os.path.exists(os.path.join(directory, "build.ninja")):
        code = run(["meson", "configure", directory, *options])
    else:
        code = run(
            ["meson", "setup", "--fatal-meson-warnings", directory, *options],
            {"CC": compilers[0], "CXX": compilers[1]},
        )
    if code != 0:
        return False
    return run(["ninja", "-C", directory, "--quiet"]) == 0


def meson_stage(stage, spec, count):
    """Build and run one meson stage, adding its cases to the count."""
    if not build(stage, spec):
        count.failures.append(f"{stage}: build")
        return
    # A test that hangs is caught by its limit; sanitizers and busy machines are no hang.
    command = ["meson", "test", "-C", spec["dir"], "--no-rebuild", "--print-errorlogs",
               "--timeout-multiplier", "4"]
    for suite in spec["suites"] or []:
        command += ["--suite", suite]
    junit = os.path.join(ROOT, spec["dir"], "meson-logs", "testlog.junit.xml")
    if os.path.exists(junit):
        os.unlink(junit)
    env = {
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:abort_on_error=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    }
    before = len(count.failures)
    code = run(command, env)
    cases = count.add_junit(junit, stage) if os.path.exists(junit) else 0
    if cases > 0:
        count.add_skips(os.path.join(os.path.dirname(junit), "testlog.txt"))
        count.add_deaths(os.path.join(os.path.dirname(junit), "testlog.json"), stage)
    if cases == 0:
        count.failures.append(f"{stage}: no test ran")
    elif code != 0 and len(count.failures) == before:
        count.failures.append(f"{stage}: meson test exited {code}")


def e2e_stage(count):
    """Run the pytest suites over the gcc binary."""
    python = os.path.join(ROOT, ".venv", "bin", "python")
    junit = os.path.join(ROOT, "build", "e2e.junit.xml")
    if os.path.exists(junit):
        os.unlink(junit)
    before = len(count.failures)
    code = run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", "tests/e2e"],
        {"TOCSIN_BINARY": os.path.join(ROOT, "build", "tocsin"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    cases = count.add_junit(junit, "e2e") if os.path.exists(junit) else 0
    if cases == 0:
        count.failures.append("e2e: no test ran")
    elif code != 0 and len(count.failures) == before:
        count.failures.append(f"e2e: pytest exited {code}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=[*STAGES, "e2e"])
    chosen = parser.parse_args().only or [*STAGES, "e2e"]
    count = Count()
    for stage in chosen:
        started = time.monotonic()
        print(f"== {stage}", flush=True)
        if stage == "e2e":
            if build("gcc", STAGES["gcc"]):
                e2e_stage(count)
            else:
                count.failures.append("e2e: build")
        else:
            meson_stage(stage, STAGES[stage], count)
        print(f"== {stage}: {time.monotonic() - started:.0f} s", flush=True)
    for failure in count.failures:
        print(f"FAILED {failure}")
    print(f"{count.passed} passed, {len(count.failures)} failed, {count.skipped} skipped")
    return 1 if count.failures else 0


if __name__ == "__main__":
    sys.exit(main())
