"""The seam to helper models, which caption, distil, rewrite and judge.

nouns.py        Message, Request, Answer, Failure; the protocols Teacher and Scribe
log.py          where answers are kept, and what they have cost
endpoint.py     a server's settings, and the body of a request
completion.py   a response's body -> an outcome
limiter.py      how many requests a server bears at once
budget.py       when to stop: the budget is spent, or nobody answers any more
client.py       requests over HTTP, with retries; imported only when one is made
desk.py         many requests at once: in order, in flat memory, nothing asked twice
batch.py        requests and answers as batch files, for servers that work offline
"""

from firsthand.teacher.batch_client import Desk, Progress
from firsthand.teacher.batch_files import read_batch, write_batch
from firsthand.teacher.budget import Budget, BudgetSpent, Outage
from firsthand.teacher.endpoint import Endpoint, InFlight
from firsthand.teacher.log import AnswerLog, Spent
from firsthand.teacher.types import Answer, Failure, Message, Outcome, Reason, Request, Scribe, Teacher

__all__ = [
    "Answer",
    "AnswerLog",
    "Budget",
    "BudgetSpent",
    "Desk",
    "Endpoint",
    "Failure",
    "InFlight",
    "Message",
    "Outage",
    "Outcome",
    "Progress",
    "Reason",
    "Request",
    "Scribe",
    "Spent",
    "Teacher",
    "read_batch",
    "write_batch",
]
