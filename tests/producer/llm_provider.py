"""A fake LLM provider with an injectable outage and latency.

POST /v1/chat              answers like a chat completion, 503 during an outage
PUT  /control              {"outage": ["OpenAI"], "latency_s": 0.2}
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Provider:
    def __init__(self, host="127.0.0.1", port=0):
        self.outage = set()
        self.latency_s = 0.0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self._body())
                if provider.latency_s:
                    time.sleep(provider.latency_s)
                if request["provider"] in provider.outage or "*" in provider.outage:
                    self._reply(503, {"error": "overloaded"})
                else:
                    words = len(request["prompt"].split())
                    self._reply(200, {"text": "bullish", "tokens_in": words * 10,
                                      "tokens_out": 7})

            def do_PUT(self):
                control = json.loads(self._body())
                provider.outage = set(control.get("outage", provider.outage))
                provider.latency_s = float(control.get("latency_s", provider.latency_s))
                self._reply(200, {})

            def _body(self):
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))

            def _reply(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer((host, port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{host}:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
