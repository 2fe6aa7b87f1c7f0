"""A real JSON-RPC proxy between the auditor and anvil that can lie: drop a log, alter one, lose a transaction.

It forwards every request unchanged and hands each result to `alter(method, params, result)` before it answers.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Alter = Callable[[str, list[Any], Any], Any]


@contextmanager
def serve_json_rpc(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Serve POST bodies with `answer` on a free port of the loopback; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One segment an answer: two would wait 40 ms for the other side's delayed acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the base class's
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def lying_proxy(upstream: str, alter: Alter) -> Iterator[str]:
    """Serve what `upstream` answers after `alter` has touched every result."""

    def answer(body: bytes) -> bytes:
        request = json.loads(body)
        http_request = urllib.request.Request(upstream, body, {"content-type": "application/json"})
        with urllib.request.urlopen(http_request, timeout=30) as response:
            answers = json.loads(response.read())
        calls = request if isinstance(request, list) else [request]
        by_id = {call["id"]: call for call in calls}
        for entry in answers if isinstance(answers, list) else [answers]:
            call = by_id[entry["id"]]
            if "result" in entry:
                entry["result"] = alter(call["method"], call["params"], entry["result"])
        return json.dumps(answers).encode()

    with serve_json_rpc(answer) as url:
        yield url


def change_log(is_wanted: Callable[[dict[str, Any]], bool], change: Callable[[dict[str, Any]], Any]) -> Alter:
    """Return an alter that passes the one wanted log through `change`; None drops it."""

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        kept = []
        for log in result:
            changed = change(log) if is_wanted(log) else log
            if changed is not None:
                kept.append(changed)
        return kept

    return alter
