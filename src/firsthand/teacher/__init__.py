"""Models behind chat servers, which caption, distil, rewrite and judge; every answer kept and paid once.

types.py         Message, Request, Completion, Failure; the protocol Teacher
log.py           where answers are kept, and what they have cost
endpoint.py      a server's settings, and the body of a request; those of one that takes weights
completion.py    a response's body -> an outcome
limiter.py       how many requests a server bears at once
budget.py        when to stop: the budget is spent, or nobody answers any more
http.py          POST over HTTP, with a deadline, in an event loop that any thread may use
client.py        requests to one server, from any thread, with retries
check.py         whether servers answer, before anything is read or paid
batch_client.py  many requests at once: in order, in flat memory, nothing asked twice
batch_files.py   requests and answers as batch files, for servers that work offline
"""

from firsthand.teacher.batch_client import BatchClient, Progress
from firsthand.teacher.batch_files import read_batch, write_batch
from firsthand.teacher.budget import Budget, BudgetSpent, Outage
from firsthand.teacher.check import check_endpoints
from firsthand.teacher.client import SyncClient
from firsthand.teacher.endpoint import Endpoint, InFlight, SamplingParameters, Served
from firsthand.teacher.log import AnswerLog, Spent, open_log
from firsthand.teacher.types import (
    Completion,
    Failure,
    Message,
    Outcome,
    Request,
    Teacher,
    delimiter,
)

__all__ = [
    "AnswerLog",
    "BatchClient",
    "Budget",
    "BudgetSpent",
    "Completion",
    "Endpoint",
    "Failure",
    "InFlight",
    "Message",
    "Outage",
    "Outcome",
    "Progress",
    "Request",
    "SamplingParameters",
    "Served",
    "Spent",
    "SyncClient",
    "Teacher",
    "check_endpoints",
    "delimiter",
    "open_log",
    "read_batch",
    "write_batch",
]
