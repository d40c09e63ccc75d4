"""A server on this machine, in a thread, that answers every request as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

headers: list[dict[str, str | None]] = []
"""Of every request that a server of `serving` got."""


@contextmanager
def serving(
    answer: Callable[[dict[str, Any]], object], status: int = 200
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The server's URL, and the bodies that it got. An answer is JSON, bytes, or a number: a status alone."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers.append(dict.fromkeys(["Authorization"]) | dict(self.headers))
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            said = answer(got[-1])
            if isinstance(said, int):
                self.send_response(said)
                self.end_headers()
                return
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
