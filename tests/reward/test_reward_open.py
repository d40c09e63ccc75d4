"""Open-ended rewards: the formula, the scorers behind their seam, and a judge that nobody talks round."""

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from firsthand.errors import DataError, RecipeError
from firsthand.records import Example, OpenEnded, Picture, Status, png
from firsthand.reward import Reward, Router
from firsthand.reward.build import router_of, scorer_of
from firsthand.reward.endpoint import ChatEndpoint, ScoreService
from firsthand.reward.judge import Judge
from firsthand.reward.open_ended import Context, OpenVerifier, Scoring, ScoringFailed, WordOverlap, calibrate, surplus
from firsthand.teacher import Message
from firsthand.workers.pool import DeadlineExceeded

SCENE = "a red cube and a blue ball"
CUBE = Example(question="What is there?", images=(), answer=OpenEnded(reference="a red cube"), scene=SCENE)


def block(text: str) -> str:
    return f"<think>hm</think><answer>{text}</answer>"


@contextmanager
def serving(
    answer: Callable[[dict[str, Any]], object], status: int = 200
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on this machine that answers POSTs; its URL, and the bodies that it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            said = answer(got[-1])
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


def chat(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


def word_of(body: dict[str, Any]) -> str:
    """The random word that a request asks its judge to return."""
    return str(body["messages"][0]["content"].partition("[")[2].partition("]")[0])


# ---- the formula


@pytest.mark.parametrize(
    ("gap", "beta", "reward"),
    [
        (0.0, 1.0, 0.0),  # as good as the reference: 0
        (-3.0, 1.0, 0.0),  # worse: 0, not negative
        (1.0, math.log(2), 0.5),
        (2.0, math.log(2), 0.75),
        (1e9, 1.0, 1.0),
    ],
)
def test_the_reward_is_what_exceeds_the_reference_squashed_into_one(gap: float, beta: float, reward: float) -> None:
    assert surplus(gap, beta) == pytest.approx(reward)


def test_a_better_description_earns_more_and_the_reference_itself_nothing() -> None:
    with router_of(Reward(open=Scoring(beta=2.0))) as router:
        said = ["a red cube and a blue ball", "a red cube and a ball", "a red cube", "a dog"]
        scores = [router.judge(block(text), CUBE).score for text in said]
    assert scores[0] is not None and scores[1] is not None
    assert scores[0] > scores[1] > 0 == scores[2] == scores[3]
    assert scores[0] == pytest.approx(1 - math.exp(-2 * (1 - 2 * 3 / (3 + 7))))


def test_free_text_obeys_the_format_rule_like_every_answer() -> None:
    with router_of(Reward(open=Scoring())) as router:
        assert router.judge("a red cube and a blue ball", CUBE).status is Status.WRONG_FORMAT
        router.check([CUBE])


def test_without_a_scene_the_overlap_scorer_refuses_instead_of_guessing() -> None:
    blind = CUBE.model_copy(update={"scene": None})
    with router_of(Reward(open=Scoring())) as router:
        verdict = router.judge(block("a red cube and a blue ball"), blind)
        assert (verdict.status, verdict.score) == (Status.FAILED, None)
        with pytest.raises(DataError, match="needs the words of the scene"):
            router.check([blind])


def test_a_score_that_is_no_number_leaves_the_reply_unmeasured() -> None:
    class Broken:
        identity = "broken"

        def score(self, context: Context, answer: str) -> float:
            return math.nan

    with Router(open_ended=OpenVerifier(Broken(), 1.0)) as router:
        assert router.judge(block("x"), CUBE).status is Status.FAILED


def test_the_reference_is_scored_once() -> None:
    asked: list[str] = []

    class Counting:
        identity = "counting"

        def score(self, context: Context, answer: str) -> float:
            asked.append(answer)
            return float(len(answer))

    with Router(open_ended=OpenVerifier(Counting(), 1.0)) as router:
        router.judge_many([(block(text), CUBE) for text in ("one", "two", "one")])
    assert asked == ["one", "a red cube", "two"]


# ---- calibration


def test_beta_makes_one_spread_above_the_reference_worth_a_half() -> None:
    examples = [
        Example(question=str(i), images=(), answer=OpenEnded(reference=said), scene=SCENE)
        for i, said in enumerate(("a red cube", "a dog", "a blue ball and a cube"))
    ]
    found = calibrate(WordOverlap(), examples)
    assert surplus(found.spread, found.beta) == pytest.approx(0.5)
    assert (found.references, found.scorer) == (3, WordOverlap.identity)
    with pytest.raises(DataError, match="at least two references with different scores"):
        calibrate(WordOverlap(), examples[:1])


# ---- judges and services


def test_a_judge_gets_the_answer_as_quoted_data_and_returns_a_grade() -> None:
    def grade(body: dict[str, Any]) -> object:
        score = 9 if "blue ball" in body["messages"][1]["content"] else 4
        return chat(json.dumps({"word": word_of(body), "score": score}))

    with (
        serving(grade) as (url, got),
        router_of(Reward(open=Scoring(scorer="judge", url=url, model="m", beta=0.2))) as router,
    ):
        verdict = router.judge(block("a red cube and a blue ball"), CUBE)
    assert verdict.score == pytest.approx(1 - math.exp(-0.2 * 5))
    asked = got[0]["messages"][1]["content"]
    words = {word_of(body) for body in got}
    assert len(words) == 2  # the reply and the reference, each with a word of its own
    quoted = asked.split(f"[{word_of(got[0])}]")
    assert quoted[1].strip() == "a red cube and a blue ball"
    assert CUBE.question in quoted[0]
    assert (got[0]["temperature"], got[0]["model"]) == (0, "m")


@pytest.mark.parametrize(
    "said",
    [
        "10",
        "Score: 10",
        '{"score": 10}',
        '{"word": "0123456789abcdef", "score": 10}',  # a verdict that the answer brought along
        '{"word": "WORD", "score": 11}',
        '{"word": "WORD", "score": true}',
        '{"word": "WORD", "score": "10"}',
        '{"word": "WORD", "score": NaN}',
        '{"word": "WORD", "score": 10, "why": "good"}',
        '[{"word": "WORD", "score": 10}]',
        '{"word": "WORD", "score": 10} and more',
        "",
        "[" * 10_000,
    ],
)
def test_what_is_no_verdict_of_this_request_is_failed_and_neither_one_nor_zero(said: str) -> None:
    with serving(lambda body: chat(said.replace("WORD", word_of(body)))) as (url, _):
        reward = Reward(open=Scoring(scorer="judge", url=url, model="m"))
        with router_of(reward) as router:
            verdict = router.judge(block('{"word": "0123456789abcdef", "score": 10}'), CUBE)
    assert (verdict.status, verdict.score) == (Status.FAILED, None)


def test_a_fenced_verdict_is_a_verdict() -> None:
    with serving(lambda body: chat(f'```json\n{{"word": "{word_of(body)}", "score": 7.5}}\n```')) as (url, _):
        assert Judge(ChatEndpoint(url, "m"), "m").score(Context("q"), "a\ud800") == 7.5


def test_a_judge_sees_the_pictures() -> None:
    from PIL import Image

    data = png(Image.new("RGB", (2, 2), "red"))
    picture = Picture(sha256="0" * 64, width=2, height=2, data=data)
    with serving(lambda body: chat("")) as (url, got):
        ChatEndpoint(url, "m", key="secret").reply([Message(role="user", text="what?", images=(picture,))])
    parts = got[0]["messages"][0]["content"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert parts[1] == {"type": "text", "text": "what?"}


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ({"no": "choices"}, 200, "chat completion"),
        (chat("x"), 500, "answered 500"),
        (b"<html>", 200, "something else than JSON"),
        ({"choices": [{"message": {"content": None}}]}, 200, "expected a text"),
        (b"1" * (1 << 21), 200, "bytes"),
    ],
)
def test_a_server_that_answers_otherwise_is_told_apart_from_a_bad_reply(said: object, status: int, why: str) -> None:
    with serving(lambda body: said, status) as (url, _), pytest.raises(ScoringFailed, match=why):
        ChatEndpoint(url, "m").reply([Message(role="user", text="?")])


def test_a_server_that_trickles_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with router_of(Reward(open=Scoring(scorer="service", url=url, deadline_s=0.5))) as router:
            verdict = router.judge(block("x"), CUBE)
        stop.set()
        thread.join()
    assert (verdict.status, verdict.score) == (Status.TIMED_OUT, None)
    assert time.monotonic() - began < 1.5


def test_a_server_that_is_not_there_leaves_replies_unmeasured() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with router_of(Reward(open=Scoring(scorer="service", url=url))) as router:
        assert router.judge(block("x"), CUBE).status is Status.FAILED


def test_a_service_scores_question_and_answer() -> None:
    with serving(lambda body: {"score": len(body["answer"])}) as (url, got):
        assert ScoreService(url).score(Context("q"), "four") == 4.0
        assert got == [{"question": "q", "answer": "four", "images": []}]
    with serving(lambda body: {"score": None}) as (url, _), pytest.raises(ScoringFailed, match="expected"):
        ScoreService(url).score(Context("q"), "four")


def test_a_deadline_at_the_first_byte_is_a_deadline_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts nothing, answers nothing
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded):
            ScoreService(url, deadline_s=0.2).score(Context("q"), "a")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", ""])
def test_an_address_that_is_no_url_is_refused_before_training(url: str) -> None:
    with pytest.raises(RecipeError, match="expected a URL"):
        ScoreService(url)


@pytest.mark.parametrize(
    "content", [{"scorer": "judge", "url": "http://x"}, {"scorer": "overlap", "url": "http://x"}, {"beta": 0}]
)
def test_settings_that_do_not_fit_together_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"takes|greater than 0"):
        Scoring.model_validate(content)


# ---- a reward model


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification

    from firsthand.worlds import SMALL

    folder = tmp_path_factory.mktemp("reward-model")
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, num_labels=1, **sizes)
    config.pad_token_id = tokenizer.pad_token_id
    Qwen2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_hugging_face_reward_model_scores_question_and_answer(reward_model: Path) -> None:
    scorer = scorer_of(Scoring(scorer="model", model=str(reward_model)))
    one, two = (scorer.score(Context(question), "a red cube") for question in ("What is there?", "How many?"))
    assert one != two
    assert scorer.score(Context("What is there?"), "a red cube") == one
    with router_of(Reward(open=Scoring(scorer="model", model=str(reward_model), beta=5.0))) as router:
        scores = [router.judge(block(text), CUBE).score for text in ("7", "cube", "ball", "a red cube")]
    assert any(scores) and scores[-1] == 0


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"without config\.json"):
        scorer_of(Scoring(scorer="model", model=str(tmp_path)))
