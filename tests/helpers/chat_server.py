"""The scripted chat server of teacher_server.py, started and stopped by a test."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from firsthand.teacher import Endpoint, InFlight

SERVER = Path(__file__).with_name("teacher_server.py")


class Server:
    """The scripted server in its own process."""

    def __init__(self, latency_s: float) -> None:
        command = [sys.executable, str(SERVER), "--latency", str(latency_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def get(self, what: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", what)
        content = json.loads(connection.getresponse().read())
        connection.close()
        return content

    @property
    def seen(self) -> Any:
        return self.get("/seen")

    def endpoint(self, *, most: int = 8, **settings: Any) -> Endpoint:
        url = f"http://127.0.0.1:{self.port}/v1"
        return Endpoint(base_url=url, model="m", in_flight=InFlight(start=min(8, most), max=most), **settings)
