"""Who answers: a model folder, here or through vLLM (local.py), an OpenAI-compatible server, or a file of replies."""

import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, final

from firsthand.answers.asking import system_of
from firsthand.data import Loaded
from firsthand.data.blind import without_pictures
from firsthand.data.loaded import of_examples
from firsthand.errors import RecipeError
from firsthand.evaluation.protocol import Protocol
from firsthand.identity import folder_id
from firsthand.records import Example, Reply, StopReason, Verdict
from firsthand.records import Status as VerdictStatus
from firsthand.teacher import AnswerLog, BatchClient, Endpoint, Failure, Message, Outage, Outcome, Request, open_log

Answered = Reply | Verdict
"""A reply; or the verdict on a question that could not be put to the model, which measures nothing."""


class Generator(typing.Protocol):
    """Whoever answers examples."""

    def answer(self, examples: Sequence[Example], protocol: Protocol) -> list[tuple[Answered, ...]]:
        """For each example its greedy reply, if the protocol wants one, and then its samples."""
        ...


@final
class ServerGenerator:
    """A model behind a server. Every reply is in the log as soon as it is there, and is never asked for again."""

    def __init__(self, endpoint: Endpoint, log: AnswerLog) -> None:
        self._endpoint, self._client = endpoint, BatchClient(endpoint, log, step="replies")

    def answer(self, examples: Sequence[Example], protocol: Protocol) -> list[tuple[Answered, ...]]:
        """See `Generator`. Raises Outage or RecipeError when nobody answers; what was answered is in the log."""
        asked_for = [(i, request) for i, e in enumerate(examples) for request in self._requests(e, protocol)]
        found: list[list[Answered]] = [[] for _ in examples]
        silent = 0
        for i, outcome in self._client.answers(asked_for):
            assert outcome is not None
            silent += isinstance(outcome, Failure) and outcome.reason == "unanswered"
            found[i].append(answered(outcome))
        if silent:
            raise Outage(
                f"{self._endpoint.base_url}: {silent} of {len(asked_for)} requests were not answered; look at the "
                "server. The others are kept: the same command goes on"
            )
        return [tuple(replies) for replies in found]

    def _requests(self, example: Example, protocol: Protocol) -> list[Request]:
        system = system_of(example, protocol.system)
        first = (Message(role="system", text=system),) if system else ()
        messages = (*first, Message(role="user", text=asked(example, protocol).question, images=example.images))
        draws = [(0.0, protocol.seed)] * protocol.greedy
        draws += [(protocol.temperature, protocol.seed * 1000 + i + 1) for i in range(protocol.samples)]
        return [
            Request(
                model=self._endpoint.model,
                messages=messages,
                temperature=temperature,
                max_tokens=protocol.max_new_tokens,
                seed=seed,
                extra=self._endpoint.extra,
            )
            for temperature, seed in draws
        ]


class FiledReply(NamedTuple):
    """A reply from a file, and the id of the problem that it answers: 7 and "7" are one."""

    id: str | int
    text: str


@final
class FileGenerator:
    """Replies that somebody else has sampled: one for each example, in order."""

    def __init__(self, replies: Sequence[FiledReply]) -> None:
        self._replies = replies

    def answer(self, examples: Sequence[Example], protocol: Protocol) -> list[tuple[Answered, ...]]:
        """See `Generator`; the protocol was somebody else's. Halves of characters become `?`: no record holds them."""
        texts = [reply.text.encode("utf-8", "replace").decode() for reply in self._replies]
        return [(Reply(text=text, token_ids=()),) for text in texts]


@contextmanager
def generator_of(model: Path | Endpoint, protocol: Protocol, folder: Path) -> Iterator[Callable[[], Generator]]:
    """Who answers for that model, made when it is called; what a server has said is kept in the folder."""
    with ExitStack() as stack:
        if isinstance(model, Path):
            from firsthand.evaluation.local import LocalGenerator, ServedGenerator

            if protocol.rollout is None:
                yield lambda: LocalGenerator.load(model, protocol)
            else:
                yield lambda: stack.enter_context(ServedGenerator.load(model, protocol))
            return
        log = stack.enter_context(open_log(folder))
        try:
            yield lambda: ServerGenerator(model, log)
        except BaseException:
            stack.close()
            if not log.spent().requests:  # of a run, whose lock keeps others out
                log.path.unlink()
            raise


def askable(model: Path, protocol: Protocol, loaded: Loaded) -> Loaded:
    """Without the rows that a model's folder cannot be asked. Raises DataError when the model cannot be used."""
    from firsthand.evaluation.local import encoder_of  # with torch, which a server does not need

    encoder = encoder_of(model, protocol)
    encoder.check_system(protocol.system)
    return loaded.without([encoder.complaint(asked(e, protocol), protocol.system) for e in loaded.examples])


def shown_to(model: Path | Endpoint, protocol: Protocol, examples: Sequence[Example], name: str) -> list[Example]:
    """The examples as a model is shown them. Raises DataError where a blind one cannot be; `name` is that of the data.

    Another question's picture may make a prompt that is too long.
    """
    shown = protocol.shown(examples)
    if isinstance(model, Path) and protocol.blind == "shuffled":
        askable(model, protocol, of_examples(name, shown)).settled()
    return shown


def settled(model: Path | Endpoint, protocol: Protocol) -> Protocol:
    """With the precision that a model folder has on this machine. Raises RecipeError where a server is told one."""
    if protocol.rollout == "vllm":
        raise RecipeError(
            "protocol.rollout: expected where the server is, such as {engine: vllm, url: http://localhost:8000}, got "
            "its engine alone"
        )
    if isinstance(model, Path):
        from firsthand.evaluation.local import precision_of

        return protocol.model_copy(update={"precision": precision_of(model, protocol)})
    if protocol.rollout is not None:
        raise RecipeError(
            f"protocol.rollout: expected a model folder, whose weights it takes, got {model.base_url}, a server "
            "itself; leave one of them out"
        )
    if protocol.precision != "auto":
        raise RecipeError(
            f"protocol.precision: expected none for a server, which has its own, got {protocol.precision}; leave it out"
        )
    return protocol


def asked(example: Example, protocol: Protocol) -> Example:
    """The example with the protocol's suffix behind its question, and without the pictures that it leaves out."""
    if protocol.blind == "none" and example.images:
        example = without_pictures(example)
    return example.model_copy(update={"question": example.question + protocol.suffix}) if protocol.suffix else example


def answered(outcome: Outcome) -> Answered:
    """What a server sent, as a reply. An empty or refused one is an answer; one that was never given is none."""
    if not isinstance(outcome, Failure):
        text = f"<think>{outcome.thinking}</think>{outcome.text}" if outcome.thinking else outcome.text
        return Reply(text=text, token_ids=(), tokens=outcome.completion_tokens)
    if outcome.reason == "truncated":
        return Reply(text=outcome.text, token_ids=(), tokens=outcome.completion_tokens, stop=StopReason.LENGTH)
    if outcome.reason in ("empty", "refused"):
        return Reply(text="", token_ids=(), tokens=outcome.completion_tokens)
    return Verdict(score=None, status=VerdictStatus.FAILED, why=f"{outcome.reason}: {outcome.detail}")


def name_of(model: Path | Endpoint) -> str:
    """What a model is called where nobody says otherwise."""
    return model.model if isinstance(model, Endpoint) else model.resolve().name


def identity(model: Path | Endpoint) -> dict[str, Any]:
    """What names a model in a run's id, wherever it lies: its folder's content, or what is asked of its server."""
    if isinstance(model, Endpoint):
        return {"endpoint": model.model_dump(mode="json", include={"base_url", "model", "extra"})}
    return {"model": model.resolve().name, "model_id": folder_id(model)}
