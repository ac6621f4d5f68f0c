"""The reference producer: a FastAPI backend shaped like the hedge fund application.

Run by uvicorn with several workers; configured by the environment:
  TOCSIN_URL     where events go
  LLM_URL        the (fake) provider
  EVENT_JOURNAL  directory for the outside record of events, one file per worker (optional)
"""

import asyncio
import contextlib
import json
import os
import time
import urllib.error
import urllib.request
import uuid

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from tocsin_events import Events

MODELS = [("OpenAI", "gpt-5.5"), ("Anthropic", "claude-sonnet-5"), ("DeepSeek", "deepseek-v4-pro")]
ATTEMPTS_MAX = 3

journal_dir = os.environ.get("EVENT_JOURNAL")
events = Events(
    os.environ.get("TOCSIN_URL", "http://127.0.0.1:9090"),
    app="hedge_fund",
    job="hedge-fund-backend",
    beat_s=float(os.environ.get("BEAT_S", "5")),
    journal=os.path.join(journal_dir, f"{os.getpid()}-{uuid.uuid4().hex[:6]}.jsonl")
    if journal_dir else None,
)
llm_url = os.environ.get("LLM_URL", "http://127.0.0.1:8099")
active_agents = 0


@contextlib.asynccontextmanager
async def lifespan(_app):
    """uvicorn ends a worker by raising its signal again, past atexit: say goodbye before that."""
    yield
    await asyncio.to_thread(events.close)


app = FastAPI(lifespan=lifespan)


class RequestEvents:
    """ASGI middleware: one event per finished response, with the route template as endpoint."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        started = time.perf_counter()
        seen = {"status": 500, "ttfb_ms": None, "bytes": 0}

        async def watch(message):
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                seen["ttfb_ms"] = (time.perf_counter() - started) * 1000
                seen["stream"] = any(
                    name == b"content-type" and value.startswith(b"text/event-stream")
                    for name, value in message.get("headers", []))
            elif message["type"] == "http.response.body":
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        outcome = "aborted"
        try:
            await self.inner(scope, receive, watch)
            outcome = "ok" if seen["status"] < 500 else "error"
        except Exception:
            outcome = "error"
            raise
        finally:
            route = scope.get("route")
            events.send("request", method=scope["method"],
                        route=getattr(route, "path", "unmatched"),
                        duration_ms=(time.perf_counter() - started) * 1000,
                        outcome=outcome, **seen)


app.add_middleware(RequestEvents)


def complete(prompt, provider, model):
    """One HTTP call to the provider; returns the decoded reply."""
    body = json.dumps({"provider": provider, "model": model, "prompt": prompt}).encode()
    request = urllib.request.Request(llm_url + "/v1/chat", data=body,
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def call_llm(agent, prompt, provider, model, run_id):
    """Like the application's call_llm: three attempts, then a polite default answer."""
    started = time.perf_counter()
    error_type = None
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            reply = complete(prompt, provider, model)
            events.send("llm", provider=provider, model=model, agent=agent, run_id=run_id,
                        op="chat", outcome="ok", attempts=attempt,
                        duration_ms=(time.perf_counter() - started) * 1000,
                        tokens_in=reply["tokens_in"], tokens_out=reply["tokens_out"])
            return reply["text"]
        except urllib.error.HTTPError as error:
            error_type = "rate_limit" if error.code == 429 else "server"
        except OSError:
            error_type = "timeout"
    events.send("llm", provider=provider, model=model, agent=agent, run_id=run_id, op="chat",
                outcome="error", error_type=error_type, attempts=ATTEMPTS_MAX,
                duration_ms=(time.perf_counter() - started) * 1000)
    return "neutral"


async def run_agent(index, ticker, run_id):
    global active_agents
    provider, model = MODELS[index % len(MODELS)]
    active_agents += 1
    events.send("resource", active_agents=active_agents)
    try:
        return await asyncio.to_thread(
            call_llm, f"agent{index}", f"value {ticker}", provider, model, run_id)
    finally:
        active_agents -= 1
        events.send("resource", active_agents=active_agents)


@app.get("/ping")
async def ping():
    return {"pong": True}


@app.get("/api/analyze")
async def analyze(ticker: str):
    if not (ticker.isascii() and ticker.isalpha() and ticker.isupper() and len(ticker) <= 5):
        raise HTTPException(400, f"Invalid ticker format: {ticker}")
    answer = await run_agent(0, ticker, uuid.uuid4().hex)
    return {"ticker": ticker, "answer": answer}


@app.get("/api/fail")
async def fail():
    raise HTTPException(500, "injected failure")


@app.post("/hedge-fund/run")
async def run():
    run_id = uuid.uuid4().hex

    async def stream():
        yield f"event: start\ndata: {json.dumps({'run_id': run_id})}\n\n"
        answers = await asyncio.gather(*(run_agent(i, "AAPL", run_id) for i in range(3)))
        for index, answer in enumerate(answers):
            yield f"event: progress\ndata: {json.dumps({'agent': index, 'answer': answer})}\n\n"
        yield "event: complete\ndata: {}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")
