"""The seam to helper models, which caption, distil, rewrite and judge.

    nouns.py      Message, Request, Answer, Failure; the protocols Teacher and Scribe
    desk.py       many requests at once: in order, in flat memory, nothing asked twice
"""

from firsthand.teacher.desk import Desk
from firsthand.teacher.nouns import Answer, Failure, Message, Outcome, Request, Scribe, Teacher

__all__ = ["Answer", "Desk", "Failure", "Message", "Outcome", "Request", "Scribe", "Teacher"]
