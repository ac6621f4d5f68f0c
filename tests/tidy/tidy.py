"""House rules that a compiler does not check, as a test (TAP).

Include direction, function and file length, line width, banned functions, clocks and allocation
outside base/, mutable file-scope variables, sources missing from meson, unfinished-work markers,
headers without a leading comment, machine paths. Reads only files git tracks.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

MAY_USE = {
    "base": [],
    "model": ["base"],
    "tsdb": ["model", "base"],
    "promql": ["tsdb", "model", "base"],
    "ingest": ["tsdb", "model", "base"],
    "rules": ["promql", "tsdb", "model", "base"],
    "notify": ["model", "base"],
    "web": ["notify", "rules", "ingest", "promql", "tsdb", "model", "base"],
    "app": ["web", "notify", "rules", "ingest", "promql", "tsdb", "model", "base"],
}
OPEN_MODULES = {"base", "model"}  # any header may be included; else only <m>/<m>.h

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
COLUMNS_MAX = 100

BANNED = [
    "strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "atof", "strtol",
    "strtoul", "strtoll", "strtoull", "strtod", "sscanf", "localtime", "gmtime", "strerror",
    "gets", "alloca", "system", "popen", "usleep", "sleep", "nanosleep", "asctime", "ctime",
]
ALLOCATION = ["malloc", "calloc", "realloc", "free", "strdup", "strndup"]
CLOCKS = ["clock_gettime", "gettimeofday", "time"]


def tracked(patterns):
    out = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in out.stdout.split("\n") if name]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as handle:
        return handle.read()


def strip(text):
    """Blank out comments and string literals, keeping line structure."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        found = match.group(0)
        if found.startswith('"'):
            return '""'
        return re.sub(r"[^\n]", " ", found)

    return pattern.sub(blank, text)


def functions(lines):
    """(name, first line, length) of every function body, by brace matching at column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.endswith("{") and not line.startswith((" ", "\t", "}", "#")):
            head = line
            back = number - 2
            while "(" not in head and back >= 0 and lines[back].strip():
                head = lines[back] + " " + head
                back -= 1
            if re.match(r"^(struct|enum|union)\s+\w+\s*\{$", line) or "=" in line:
                continue
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start + 1
            start = None


class Checks:
    def __init__(self):
        self.results = []

    def check(self, name, findings):
        self.results.append((name, findings))

    def print_tap(self):
        print(f"1..{len(self.results)}")
        failed = False
        for index, (name, findings) in enumerate(self.results, 1):
            print(f"{'not ok' if findings else 'ok'} {index} - {name}")
            for finding in findings:
                print(f"# {finding}")
            failed = failed or bool(findings)
        return failed


def check_includes(sources):
    findings = []
    for path in sources:
        module = path.split("/")[0]
        if module not in MAY_USE:
            continue
        for number, line in enumerate(read(path).split("\n"), 1):
            match = re.match(r'#include "([a-z_]+)/([^"]+)"', line)
            if not match or match.group(1) == module:
                continue
            other, header = match.groups()
            if other not in MAY_USE[module]:
                findings.append(f"{path}:{number}: {module}/ may not include {other}/")
            elif other not in OPEN_MODULES and header != f"{other}.h":
                findings.append(f"{path}:{number}: {other}/{header} is private to {other}/")
    return findings


def check_lengths(sources, exceptions):
    findings = []
    for path in sources:
        lines = read(path).split("\n")
        if len(lines) > FILE_LINES_MAX:
            findings.append(f"{path}: {len(lines)} lines (max {FILE_LINES_MAX})")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                findings.append(f"{path}:{number}: {len(line)} columns (max {COLUMNS_MAX})")
        if path.endswith((".c", ".cc")):
            for start, length in functions(strip(read(path)).split("\n")):
                if length > FUNCTION_LINES_MAX and f"{path}:{length}" not in exceptions:
                    findings.append(f"{path}:{start}: function of {length} lines")
    return findings


def check_calls(sources, names, allowed, reason):
    findings = []
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(")
    for path in sources:
        if allowed(path):
            continue
        for number, line in enumerate(strip(read(path)).split("\n"), 1):
            match = pattern.search(line)
            if match:
                findings.append(f"{path}:{number}: {match.group(1)}() {reason}")
    return findings


def check_globals(sources):
    findings = []
    pattern = re.compile(r"^(static\s+)?(?!const|typedef|extern|return|struct \w+;)"
                         r"[a-z_][\w \*]*\b\w+(\[[^\]]*\])*\s*(=|;)")
    for path in sources:
        if not path.endswith(".c"):
            continue
        for number, line in enumerate(strip(read(path)).split("\n"), 1):
            if not pattern.match(line) or "const" in line or "(" in line.split("=")[0]:
                continue
            if re.match(r"^(struct|enum|union)\s+\w+;", line) or "_Atomic" in line:
                continue
            findings.append(f"{path}:{number}: mutable file-scope variable: {line.strip()}")
    return findings


def check_meson(sources):
    findings = []
    texts = {}
    for path in sources:
        if not path.endswith((".c", ".cc")):
            continue
        folder, name = os.path.split(path)
        if name.startswith("fuzz_"):
            folder = "tests/fuzz"  # the entries stand beside the tests of their module
        if folder.startswith("tsdb/"):
            folder = "tsdb"  # one library, several folders
        if folder not in texts:
            build = os.path.join(folder, "meson.build")
            texts[folder] = read(build) if os.path.exists(os.path.join(ROOT, build)) else ""
        stem = re.sub(r"\.cc?$", "", name)
        # Tests are often listed by what follows test_.
        names = "|".join(re.escape(n) for n in {stem, re.sub(r"^test_", "", stem)})
        if not re.search(rf"['/]({names})(\.cc?)?'", texts[folder]):
            findings.append(f"{path}: not in {folder}/meson.build")
    return findings


def check_markers(paths):
    findings = []
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    machine = re.compile(r"/(work|root|home/\w+)/(main|shared|\.)")
    for path in paths:
        if path.startswith("tests/tidy/") or "/corpus/" in path:
            continue
        try:
            text = read(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if words.search(line):
                findings.append(f"{path}:{number}: unfinished-work marker")
            if machine.search(line):
                findings.append(f"{path}:{number}: path of one machine")
    return findings


def check_headers(sources):
    findings = []
    for path in sources:
        text = read(path)
        if not text.startswith(("/*", "//")):
            findings.append(f"{path}: no leading comment saying what it is")
        if path.endswith(".h") and "#pragma once" not in text:
            findings.append(f"{path}: no #pragma once")
        if re.search(r"/\*\*?\s*\*/", text):
            findings.append(f"{path}: empty comment")
    return findings


def check_format(sources):
    try:
        out = subprocess.run(
            ["clang-format", "--dry-run", "-Werror", *[s for s in sources if not s.endswith(".cc")]],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )
    except FileNotFoundError:
        return ["clang-format is not installed"]
    return [line for line in out.stderr.split("\n") if "error:" in line][:50]


def main():
    modules = [f"{module}/*" for module in MAY_USE]
    sources = [p for p in tracked(modules) if p.endswith((".c", ".h", ".cc"))]
    tests = [p for p in tracked(["tests/*", "bench/*"]) if p.endswith((".c", ".h", ".cc"))]
    exceptions = set(read("tests/tidy/exceptions.txt").split())
    checks = Checks()
    checks.check("includes point downward", check_includes(sources))
    checks.check("functions, files and lines are short", check_lengths(sources + tests, exceptions))
    checks.check("no banned functions", check_calls(
        sources, BANNED, lambda path: False, "is banned"))
    checks.check("allocation goes through base/mem.h", check_calls(
        sources, ALLOCATION, lambda path: path == "base/mem.c", "outside base/mem.c"))
    checks.check("clocks are read in base/clock.c and app/ only", check_calls(
        sources, CLOCKS, lambda path: path == "base/clock.c" or path.startswith("app/"),
        "outside base/clock.c"))
    checks.check("no mutable globals", check_globals(sources))
    checks.check("every source is built", check_meson(sources + tests))
    checks.check("no unfinished work, no machine paths", check_markers(tracked(["."])))
    checks.check("every file says what it is", check_headers(sources + tests))
    checks.check("formatted by .clang-format", check_format(sources + tests))
    return 1 if checks.print_tap() else 0


if __name__ == "__main__":
    sys.exit(main())
