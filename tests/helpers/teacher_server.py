"""A chat endpoint that does what the prompt tells it to, in a process of its own.

    python tests/teacher_server.py --latency 1.0        prints the port it listens on

The last message is a plan: `row 7: 429 reset ok` is answered with a 429 at the first attempt, a reset at the second,
and an answer from the third on. A text without a colon is answered at once. Behaviours: see `Server.behave`.

GET /seen tells what came in: {"attempts": {text: n}, "answered": {text: n}, "most": most requests at one moment,
"at": {text: [seconds of each attempt]}, "open": connections that are open now, this one included}. GET /last tells the
headers and body of the last request.
"""

import argparse
import asyncio
import json
import time
from collections import Counter, defaultdict
from email.utils import formatdate
from typing import Any

TOKENS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Server:
    """The state of one server."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.attempts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.at: defaultdict[str, list[float]] = defaultdict(list)
        self.now = self.most = self.open = 0
        self.last: dict[str, Any] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with all the requests that come over it."""
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").rstrip().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if first.startswith("GET"):
                    self.write(writer, 200, self.last if "/last" in first else self.seen())
                else:
                    self.last = {"headers": headers, "path": first.split()[1], "body": json.loads(body)}
                    await self.chat(reader, writer, self.last["body"])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone: that is its right
        finally:
            self.open -= 1
            writer.close()

    async def chat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        """Answer one request as its plan says."""
        if not body["messages"]:  # some clients ask nothing, to see a server's limits
            self.refuse(writer, "400")
            return
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        plan = text.partition(":")[2].split() or ["ok"]
        what = plan[min(self.attempts[text], len(plan) - 1)]
        self.attempts[text] += 1
        self.at[text].append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.latency_s)
            if what == "hang":
                await reader.read()  # until the client goes
            else:
                await self.behave(what, text, body["model"], writer)
        finally:
            self.now -= 1

    async def behave(self, what: str, text: str, model: str, writer: asyncio.StreamWriter) -> None:
        """Carry out one word of a plan. A number is a status, `429/2` has `Retry-After: 2`, `429@2` a date in 2 s."""
        good = completion(f"answer to {text}", model)
        if what[0].isdigit():
            self.refuse(writer, what)
        elif what == "reset":
            writer.transport.abort()
        elif what == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        elif what == "cut":  # fewer bytes than the header says
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + json.dumps(good).encode())
            writer.close()
        elif what == "half":  # a whole response with half a JSON
            self.write(writer, 200, json.dumps(good)[:40])
        else:
            self.answered[text] += what != "error200"
            self.write(writer, 200, special(what, text, model) or good)
        await writer.drain()

    def refuse(self, writer: asyncio.StreamWriter, what: str) -> None:
        """A status of trouble, with a body that quotes the key, as careless servers do."""
        status, after, date = int(what[:3]), what[3:4] == "/", what[3:4] == "@"
        wait = what[4:]
        headers = {"Retry-After": formatdate(time.time() + float(wait), usegmt=True)} if date else {}
        headers |= {"Retry-After": wait} if after else {}
        code = "content_filter" if wait == "filter" else "none"
        key = self.last["headers"].get("authorization", "")
        self.write(writer, status, {"error": {"message": f"no: {status}, you said {key}", "code": code}}, headers)

    def seen(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "answered": self.answered,
            "at": self.at,
            "most": self.most,
            "open": self.open,
        }

    def write(
        self, writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def completion(text: Any, model: str, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion", "model": f"{model}-01", "choices": [choice], "usage": TOKENS}


def special(what: str, text: str, model: str) -> dict[str, Any] | None:
    """Whole completions that are not plain answers."""
    return {
        "empty": completion("", model),
        "null": completion(None, model),
        "refusal": completion(None, model, refusal="I will not"),
        "filter": completion("", model, "content_filter"),
        "length": completion("and so on and", model, "length"),
        "think": completion(f"<think>hm</think>\n\nanswer to {text}", model),
        "unopened": completion(f"hm</think>\n\nanswer to {text}", model),
        "unclosed": completion("<think>hm", model),
        "reasoning": completion(f"answer to {text}", model, reasoning_content="hm"),
        "reasoned": completion(f"answer to {text}", model, reasoning="hm"),
        "error200": {"error": {"message": "the upstream is down", "code": 502}},
        "unpriced": {k: v for k, v in completion(f"answer to {text}", model).items() if k != "usage"},
        "surrogate": completion("a \ud800 b", model),
    }.get(what)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    server = await asyncio.start_server(
        Server(parser.parse_args().latency).serve, "127.0.0.1", 0, backlog=2048, limit=1 << 26
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
