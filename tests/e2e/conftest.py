"""Fixtures: an engine per test, stubs, and a failure report with the engine's last log lines."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "producer"))

from engine import Engine  # noqa: E402
from stubs import MailStub, SlackStub  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for engine in getattr(item, "engines", []):
            report.sections.append(("engine log", "\n".join(engine.log[-60:])))


@pytest.fixture
def make_engine(tmp_path, request):
    """make_engine(*arguments, env=…): an engine in this test's directory, stopped afterwards."""
    engines = request.node.engines = []

    def make(*arguments, env=None, port=0, directory=None):
        engine = Engine(directory or tmp_path / "data", arguments, env, port)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        if engine.process is not None and engine.process.poll() is None:
            engine.process.kill()
            engine.process.wait()


@pytest.fixture
def slack():
    stub = SlackStub()
    yield stub
    stub.close()


@pytest.fixture
def mail():
    stub = MailStub()
    yield stub
    stub.close()
