"""Open-ended rewards: the formula, the scorers behind their seam, and a judge that nobody talks round."""

import json
import math
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_server import ChatServer
from json_server import headers, serving

from firsthand.errors import DataError, RecipeError
from firsthand.evaluation.grading import grade
from firsthand.records import Example, OpenEnded, Picture, Status, png
from firsthand.reward import Reward, Router
from firsthand.reward.build import router_of, scorer_of
from firsthand.reward.open_ended import (
    Context,
    OpenEndedScoring,
    OpenVerifier,
    ScoringFailed,
    WordOverlap,
    calibrate,
    surplus,
)
from firsthand.reward.score_service import ScoreService
from firsthand.teacher import Outage
from firsthand.teacher.budget import IN_A_ROW
from firsthand.workers.pool import DeadlineExceeded

pytestmark = pytest.mark.usefixtures("short_naps")
SCENE = "a red cube and a blue ball"
CUBE = Example(question="What is there?", images=(), answer=OpenEnded(reference="a red cube"), scene=SCENE)


def block(text: str) -> str:
    return f"<think>hm</think><answer>{text}</answer>"


def chat(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


def scored_by(scorer: str, url: str, **settings: Any) -> Reward:
    """A reward whose open-ended answers a server scores."""
    named = {"model": "m"} if scorer == "judge" else {}
    return Reward(open=OpenEndedScoring.model_validate({"scorer": scorer, "url": url, **named, **settings}))


def judged_at(url: str, **settings: Any) -> Reward:
    return scored_by("judge", url, **settings)


def judge_at(url: str) -> OpenEndedScoring:
    return OpenEndedScoring(scorer="judge", url=url, model="m")


def word_of(body: dict[str, Any]) -> str:
    """The word that a request asks its judge to return."""
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
    with router_of(Reward(open=OpenEndedScoring(beta=2.0))) as router:
        said = ["a red cube and a blue ball", "a red cube and a ball", "a red cube", "a dog"]
        scores = [router.judge(block(text), CUBE).score for text in said]
    assert scores[0] is not None and scores[1] is not None
    assert scores[0] > scores[1] > 0 == scores[2] == scores[3]
    assert scores[0] == pytest.approx(1 - math.exp(-2 * (1 - 2 * 3 / (3 + 7))))


def test_free_text_obeys_the_format_rule_like_every_answer() -> None:
    with router_of(Reward(open=OpenEndedScoring())) as router:
        assert router.judge("a red cube and a blue ball", CUBE).status is Status.WRONG_FORMAT
        router.check([CUBE])


def test_without_a_scene_the_overlap_scorer_refuses_instead_of_guessing() -> None:
    blind = CUBE.model_copy(update={"scene": None})
    with router_of(Reward(open=OpenEndedScoring())) as router:
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
        with pytest.raises(DataError, match="see to the scorer") as refused:
            router.check([CUBE])
    assert "another `kind`" not in str(refused.value), "the row is not at fault"


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
        router_of(Reward(open=OpenEndedScoring(scorer="judge", url=url, model="m", beta=0.2))) as router,
    ):
        verdict = router.judge(block("a red cube and a blue ball"), CUBE)
    assert verdict.score == pytest.approx(1 - math.exp(-0.2 * 5))
    asked = got[0]["messages"][1]["content"]
    words = {word_of(body) for body in got}
    assert len(words) == 2  # the reply and the reference, each with a word of its own
    assert not any(word in "a red cube and a blue ball" + CUBE.question for word in words)
    quoted = asked.split(f"[{word_of(got[0])}]")
    assert quoted[1].strip() == "a red cube and a blue ball"
    assert CUBE.question in quoted[0]
    assert {name: got[0][name] for name in got[0].keys() - {"messages"}} == {
        "model": "m",
        "temperature": 0,
        "seed": 0,
        "response_format": {"type": "json_object"},
    }


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
        reward = Reward(open=OpenEndedScoring(scorer="judge", url=url, model="m"))
        with router_of(reward) as router:
            verdict = router.judge(block('{"word": "0123456789abcdef", "score": 10}'), CUBE)
    assert (verdict.status, verdict.score) == (Status.FAILED, None)


def test_a_fenced_verdict_is_a_verdict() -> None:
    def fenced(body: dict[str, Any]) -> object:
        return chat(f'```json\n{{"word": "{word_of(body)}", "score": 7.5}}\n```')

    with serving(fenced) as (url, _), scorer_of(judge_at(url)) as judge:
        assert judge.score(Context("q"), "a\ud800") == 7.5


def test_a_judge_sees_the_pictures() -> None:
    from PIL import Image

    data = png(Image.new("RGB", (2, 2), "red"))
    picture = Picture(sha256="0" * 64, width=2, height=2, data=data)
    with (
        serving(lambda body: chat("")) as (url, got),
        scorer_of(judge_at(url)) as judge,
        pytest.raises(ScoringFailed, match="empty"),
    ):
        judge.score(Context("what?", images=(picture,)), "red")
    parts = got[0]["messages"][1]["content"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert parts[1]["text"].startswith("Question: what?")


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ({"no": "choices"}, 200, "expected a chat completion"),
        (chat("x"), 500, "the last: 500"),
        (chat("x"), 400, "rejected, 400"),
        (b"<html>", 200, "expected JSON"),
        ({"choices": [{"message": {"content": None}}]}, 200, "empty"),
        (b"1" * (1 << 25), 200, "bytes"),
    ],
)
def test_a_server_that_answers_otherwise_is_told_apart_from_a_bad_reply(said: object, status: int, why: str) -> None:
    with (
        serving(lambda body: said, status) as (url, _),
        scorer_of(judge_at(url)) as judge,
        pytest.raises(ScoringFailed, match=why),
    ):
        judge.score(Context("?"), "x")


@pytest.mark.parametrize("scorer", ["judge", "service"])
def test_a_server_that_trickles_is_left_at_the_deadline(scorer: str) -> None:
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
        with router_of(scored_by(scorer, url, deadline_s=0.5)) as router:
            verdict = router.judge(block("x"), CUBE)
        stop.set()
        thread.join()
    assert (verdict.status, verdict.score) == (Status.TIMED_OUT, None)
    assert time.monotonic() - began < 1.5


def test_a_service_that_is_not_there_leaves_replies_unmeasured_and_a_judge_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with router_of(scored_by("service", url)) as router:
        assert router.judge(block("x"), CUBE).status is Status.FAILED
    with (
        router_of(scored_by("judge", url)) as router,
        pytest.raises(Outage, match=r"cannot be reached.*Start the server"),
    ):
        router.judge(block("x"), CUBE)


def test_a_service_scores_question_and_answer() -> None:
    with serving(lambda body: {"score": len(body["answer"])}) as (url, got):
        with ScoreService(url) as service:
            assert service.score(Context("q"), "four") == 4.0
        assert got == [{"question": "q", "answer": "four", "images": []}]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"score": None}, 200),
        ({"score": 1}, 500),
        (b"<html>", 200),
        ({"score": 1e308}, 200),
        ({"score": float("inf")}, 200),
        (b'{"score": 1' + b"0" * 400 + b"}", 200),
        (b'{"score": ' + b"[" * 100_000, 200),
    ],
)
def test_a_service_that_answers_otherwise_leaves_the_reply_unmeasured(said: object, status: int) -> None:
    with serving(lambda body: said, status) as (url, _), router_of(scored_by("service", url)) as router:
        verdict = router.judge(block("x"), CUBE)
    assert (verdict.status, verdict.score) == (Status.FAILED, None)


def test_a_deadline_at_the_first_byte_is_a_deadline_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts nothing, answers nothing
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with ScoreService(url, deadline_s=0.2) as service, pytest.raises(DeadlineExceeded):
            service.score(Context("q"), "a")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "", "http://me:secret@x/v1"])
def test_an_address_that_is_no_url_is_refused_before_training(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        OpenEndedScoring(scorer="service", url=url)


@pytest.mark.parametrize(
    "content",
    [
        {"scorer": "judge", "url": "http://x"},
        {"scorer": "overlap", "url": "http://x"},
        {"scorer": "overlap", "key_env": "KEY"},
        {"beta": 0},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"takes|greater than 0"):
        OpenEndedScoring.model_validate(content)


# ---- what a judge has said is kept


def test_a_judge_is_asked_once_by_all_the_runs_of_a_folder(tmp_path: Path) -> None:
    said = ["a red cube and a blue ball", "a dog", "a dog"]
    with serving(lambda body: chat(json.dumps({"word": word_of(body), "score": len(str(body)) % 11}))) as (url, got):
        reward = Reward(open=OpenEndedScoring(scorer="judge", url=url, model="m"))
        with router_of(reward, folder=tmp_path) as router:
            first = router.judge_many([(block(text), CUBE) for text in said])
        assert len(got) == 3  # two answers and the reference
    with router_of(reward, folder=tmp_path) as router:  # the server is not there any more
        assert router.judge_many([(block(text), CUBE) for text in said]) == first
    assert [path.name for path in tmp_path.iterdir()] == ["answers.sqlite"]


def test_equal_answers_that_are_under_way_are_asked_once(tmp_path: Path) -> None:
    def slowly(body: dict[str, Any]) -> object:
        time.sleep(0.2)
        return chat(json.dumps({"word": word_of(body), "score": 5}))

    with serving(slowly) as (url, got), router_of(judged_at(url), workers=8) as router:
        verdicts = router.judge_many([(block("a dog"), CUBE)] * 8)
    assert len(set(verdicts)) == 1 and len(got) == 2


def test_a_judge_that_is_late_leaves_the_reply_unmeasured_and_is_asked_again(tmp_path: Path) -> None:
    naps = iter([1.0, 0.0, 0.0])

    def slowly(body: dict[str, Any]) -> object:
        time.sleep(next(naps))
        return chat(json.dumps({"word": word_of(body), "score": 5}))

    with serving(slowly) as (url, _), router_of(judged_at(url, deadline_s=0.3), folder=tmp_path) as router:
        late = router.judge(block("a dog"), CUBE)
        assert (late.status, late.score) == (Status.TIMED_OUT, None) and "within 0.3 s" in late.why
        time.sleep(1.0)  # the server answers one request at a time
        assert router.judge(block("a dog"), CUBE).status is Status.OK


def test_a_judge_that_answers_nobody_any_more_ends_the_run() -> None:
    answers = iter([chat("no")])
    with serving(lambda body: next(answers, 500)) as (url, _), router_of(judged_at(url)) as router:
        replies = [(block(f"a dog {i}"), CUBE) for i in range(1 + IN_A_ROW)]
        assert {router.judge(*reply).status for reply in replies[:-1]} == {Status.FAILED}
        with pytest.raises(Outage, match="give the same command again"):
            router.judge(*replies[-1])


KEY = 'sk-0123"456/789'


def test_no_key_is_sent_unless_the_recipe_names_it_and_a_refusal_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (
        serving(lambda body: {"error": "who are you?"}, 401) as (url, _),
        router_of(judged_at(url)) as router,
        pytest.raises(RecipeError, match=r"OPENAI_API_KEY is set, and no key is sent.*set key_env"),
    ):
        router.judge(block("a dog"), CUBE)
    assert headers[-1]["Authorization"] is None


def test_the_judges_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def quote(body: dict[str, Any]) -> object:
        return f'{{"error": {json.dumps(KEY)}, "plain": "{KEY}", "slashes": "{json.dumps(KEY)[1:-1]}"}}'.replace(
            "456/", "456\\/", 1
        ).encode()

    reward = judged_at("http://x/v1", key_env="JUDGE_KEY")
    assert "JUDGE" not in reward.model_dump_json()
    with serving(quote, 400) as (url, _), router_of(judged_at(url, key_env="JUDGE_KEY"), folder=tmp_path) as router:
        verdict = router.judge(block("a dog"), CUBE)
    assert headers[-1]["Authorization"] == f"Bearer {KEY}"
    assert verdict.status is Status.FAILED and verdict.why.count("[key]") == 3
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"0123" not in verdict.why.encode() + written


def test_a_key_that_is_not_in_the_environment_is_missed_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    judge = router_of(judged_at("http://127.0.0.1:9/v1", key_env="JUDGE_KEY"))
    with pytest.raises(RecipeError, match="environment variable JUDGE_KEY"), judge:
        pass


TRAINING = {
    "name": "judged",
    "objective": {"kind": "grpo", "group_size": 4},
    "sampling": {"max_new_tokens": 48},
    "steps": 4,
    "prompts": 2,
    "checkpoint_every": 2,
}


def open_questions(folder: Path) -> Path:
    """Questions that the small model answers in several ways, with golds of free text."""
    from firsthand.worlds import generate

    folder.mkdir()
    rows = []
    for number, example in enumerate(generate("count", "train", 8)):
        (folder / f"{number}.png").write_bytes(example.images[0].encoded())
        rows.append({"question": example.question, "answer": "many", "kind": "open", "image": f"{number}.png"})
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.slow
def test_a_killed_run_with_a_judge_goes_on_and_pays_for_no_answer_twice(tmp_path: Path) -> None:
    server = ChatServer(tmp_path / "server", [{"when": "", "grades": True}])
    scoring = {"scorer": "judge", "url": server.endpoint().base_url, "model": "m", "beta": 0.2}
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "runs"
    data = {"path": str(open_questions(tmp_path / "data"))}
    recipe.write_text(yaml.safe_dump(TRAINING | {"data": data, "reward": {"open": scoring}}))

    def start() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "firsthand", "train", str(recipe), "--out", str(out)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def verdicts(run: Path) -> list[Any]:
        return [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]

    try:
        killed = start()
        while not any(path.read_text().count("\n") >= 3 for path in out.glob("*/metrics.jsonl")):
            assert killed.poll() is None, killed.stderr and killed.stderr.read()
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        (run,) = (path for path in out.iterdir() if path.is_dir())
        before = verdicts(run)
        resumed = start()
        _, told = resumed.communicate()
        assert resumed.returncode == 0, told.decode()
        asked = [json.dumps(body, sort_keys=True) for body in server.asked]
        assert len(asked) == len(set(asked)) > 8
        assert verdicts(run)[: len(before)] == before

        shutil.rmtree(run)  # the same training once more, without a server
        server.stop()
        again = start()
        _, told = again.communicate()
        assert again.returncode == 0, told.decode()
        assert verdicts(run)[: len(before)] == before
    finally:
        server.stop()


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
    with scorer_of(OpenEndedScoring(scorer="model", model=str(reward_model))) as scorer:
        one, two = (scorer.score(Context(question), "a red cube") for question in ("What is there?", "How many?"))
        assert one != two
        assert scorer.score(Context("What is there?"), "a red cube") == one
    with router_of(Reward(open=OpenEndedScoring(scorer="model", model=str(reward_model), beta=5.0))) as router:
        scores = [router.judge(block(text), CUBE).score for text in ("7", "cube", "ball", "a red cube")]
    assert any(scores) and scores[-1] == 0


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    model = scorer_of(OpenEndedScoring(scorer="model", model=str(tmp_path)))
    with pytest.raises(RecipeError, match=r"without config\.json"), model:
        pass


def test_grading_the_same_replies_again_asks_the_judge_nothing(tmp_path: Path) -> None:
    problems, replies = tmp_path / "problems.jsonl", tmp_path / "replies.jsonl"
    problems.write_text('{"id": "1", "question": "What is there?", "answer": "a red cube", "kind": "open"}\n')
    replies.write_text("".join(json.dumps({"id": "1", "reply": block(text)}) + "\n" for text in ("a dog", "a cat")))

    def verdicts(name: str) -> str:
        grade(problems, replies, tmp_path / "out" / name, reward, workers=1, deadline_s=5.0)
        return (tmp_path / "out" / name).read_text()

    with serving(lambda body: chat(json.dumps({"word": word_of(body), "score": len(str(body)) % 11}))) as (url, got):
        reward = judged_at(url)
        first = verdicts("first.jsonl")
        assert len(got) == 3
    assert verdicts("second.jsonl") == first  # the server is not there any more
    assert '"status": "ok"' in first
