"""Our rewards as TRL's, and a user's own as ours."""

import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.errors import DataError, RecipeError
from firsthand.records import Choice, Digit, Example, Expression, Status
from firsthand.reward import Router
from firsthand.reward.adapters import trl_reward
from firsthand.workers import pool

SEVEN = Example(question="how many?", images=(), answer=Digit(value="7"), meta={"bonus": 0.5})


def block(text: str) -> str:
    return f"<answer>{text}</answer>"


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a user's module `mine`, from which a recipe is run."""
    source = """
        import os, subprocess, time
        def brevity(reply, answer):
            return 1.0 / len(reply)
        def bonus(completions, bonus, **columns):
            return [b + ("7" in c[0]["content"]) for c, b in zip(completions, bonus)]
        def strict(completions, solution):
            return [float(c[-1]["content"] == s) for c, s in zip(completions, solution)]
        def none(completions, **columns): return [None for _ in completions]
        def nan(completions, **columns): return [float("nan")]
        def starts(reply, answer):
            with open("started", "w") as file:
                file.write(str(subprocess.Popen(["sleep", "1000"]).pid))
            return 1.0
        def starts_and_hangs(reply, answer): starts(reply, answer); time.sleep(60)
        def starts_and_dies(reply, answer): starts(reply, answer); os._exit(3)
        def starts_and_hides(reply, answer):
            if (child := os.fork()) == 0:
                os.setsid()
                starts(reply, answer)
                os._exit(0)
            os.waitpid(child, 0)
            return 1.0
        def starts_many(reply, answer):
            for _ in range(80): subprocess.Popen(["sleep", "1000"], start_new_session=True)
            time.sleep(60)
        def eats(reply, answer):
            kept = []
            while True: kept.append(bytes(2**26))
        def fills_the_disk(reply, answer):
            with open("big", "wb") as file: file.truncate(2**31)
            return 1.0
        def prints_much(reply, answer):
            subprocess.run(["head", "-c", "3000000", "/dev/zero"])
            return 1.0
        def answers_much(reply, answer):
            for pipe in range(3, 9):
                try: os.write(pipe, b"x" * 3_000_000)
                except OSError: pass
            return 1.0
        def infinite(reply, answer): return float("inf")
        def huge(reply, answer): return 1e308
        def endless(reply, answer): return 10**400
        def words(reply, answer): return "good"
        def raises(reply, answer): raise KeyError("colour")
        def hangs(reply, answer): time.sleep(60)
        def dies(reply, answer): os._exit(3)
        def prints(reply, answer):
            print("noise")
            return 1
        def too_many(completions, **columns): return [1.0, 1.0]
        async def later(completions, **columns): return [1.0]
        number = 3
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(source))
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_a_function_that_is_edited_while_it_is_used_is_refused_at_the_first_worker_that_would_read_it_anew(
    functions: Path,
) -> None:
    (functions / "mine.py").write_text("import time\ndef some_hang(r, answer): return len(r) or time.sleep(9)")
    with Router(deadline_s=0.5, function="mine:some_hang") as router:
        assert router.judge("", SEVEN).status is Status.TIMED_OUT
        assert router.judge("ab", SEVEN).score == 2
        (functions / "mine.py").write_text("def some_hang(reply, answer): return 7")
        assert router.judge("ab", SEVEN).score == 2  # the one that was imported
        with pytest.raises(RecipeError, match="the source of mine:some_hang has changed while it was in use"):
            router.judge("", SEVEN)


# ---- ours as TRL's


def test_trl_gets_one_reward_per_completion_and_none_where_nothing_was_measured() -> None:
    with Router(deadline_s=1.0) as router:
        reward = trl_reward(router)
        # As GRPOTrainer calls it: by keyword, with columns of the data set and arguments of its own.
        rewards = reward(
            prompts=["q"] * 5,
            completions=[block("x+x"), block("8"), block("10^{10^{10}}"), "7", block("dark blue")],
            completion_ids=[[1]] * 5,
            solution=["2x", "7", "7", "7", "B"],
            kind=["math", "digit", "math", "digit", "choice"],
            choices=[None, None, None, None, ["red", "dark blue"]],
            trainer_state=None,
        )
    assert rewards == [1.0, 0.0, None, 0.0, 1.0]
    assert reward.__name__ == "firsthand_reward"  # TRL logs rewards under their function's name


def test_conversational_completions_are_read_too() -> None:
    with Router() as router:
        reward = trl_reward(router, "digit", answer="answer")
        turns = [
            [{"role": "assistant", "content": block("7")}],
            [{"role": "assistant", "content": [{"type": "text", "text": block("6")}]}],
        ]
        assert reward(completions=turns, answer=[7, 7]) == [1.0, 0.0]


def test_a_data_set_without_the_column_is_told_so() -> None:
    with Router() as router, pytest.raises(DataError, match="expected the column 'solution', got \\['answer'\\]"):
        trl_reward(router, "digit")(completions=["7"], answer=["7"])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL uses names that transformers has deprecated
def test_a_trl_trainer_takes_our_reward(tmp_path: Path) -> None:
    import datasets
    import trl

    rows = {"prompt": ["How many?"] * 4, "solution": ["7"] * 4}
    with Router() as router:
        seen: list[list[float | None]] = []
        ours = trl_reward(router, "digit")

        def spy(completions: list[str], **columns: object) -> list[float | None]:
            seen.append(ours(completions, **columns))
            return seen[-1]

        trainer = trl.GRPOTrainer(
            model=tiny_language_model(tmp_path),
            reward_funcs=[spy],
            args=trl.GRPOConfig(
                output_dir=str(tmp_path / "out"),
                max_steps=1,
                per_device_train_batch_size=2,
                num_generations=2,
                max_completion_length=4,
                report_to="none",
                use_cpu=True,
                bf16=False,
                save_strategy="no",
            ),
            train_dataset=datasets.Dataset.from_dict(rows),
        )
        trainer.train()
    assert seen == [[0.0, 0.0]]  # four random tokens have no answer block


def tiny_language_model(folder: Path) -> str:
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from firsthand.worlds import SMALL

    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


# ---- a user's as ours


def test_a_plain_function_scores_the_whole_reply(functions: Path) -> None:
    with Router(function="mine:brevity") as router:
        verdict = router.judge("12345678", SEVEN)
        assert (verdict.score, verdict.status) == (0.125, Status.OK)
        assert verdict.why == "mine:brevity says 0.125"
        assert [v.score for v in router.judge_many([("12", SEVEN), ("1234", SEVEN.answer)])] == [0.5, 0.25]
        router.check([SEVEN])


def test_a_trl_function_gets_completions_and_columns(functions: Path) -> None:
    with Router(function="mine:bonus") as router:
        assert [router.judge(text, SEVEN).score for text in ("7", "8")] == [1.5, 0.5]
    with Router(function="mine:strict") as router:  # takes no **columns: it gets what it names
        assert [router.judge(text, SEVEN).score for text in ("7", "8")] == [1.0, 0.0]


def test_trls_own_accuracy_reward_can_be_named() -> None:
    with Router(function="trl.rewards:accuracy_reward", deadline_s=60) as router:
        gold = Expression(latex=r"$\frac{1}{3}$")
        assert [router.judge(rf"My answer is \boxed{{{n}}}", gold).score for n in (r"\frac{1}{3}", "2")] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "status", "why"),
    [
        ("none", Status.UNSCORED, "does not apply"),
        ("nan", Status.UNSCORED, "does not apply"),  # TRL writes None as NaN
        ("infinite", Status.FAILED, "returned inf"),
        ("huge", Status.FAILED, "returned 1e+308; expected 1e+06 at most"),
        ("endless", Status.FAILED, "OverflowError"),
        ("words", Status.FAILED, "could not convert string to float"),
        ("raises", Status.FAILED, "KeyError: 'colour'"),
        ("dies", Status.FAILED, "exit status 3"),
        ("too_many", Status.FAILED, "expected one reward for one completion, got 2"),
    ],
)
def test_a_function_that_gives_no_score_leaves_the_reply_unmeasured(
    functions: Path, name: str, status: Status, why: str
) -> None:
    with Router(function=f"mine:{name}") as router:
        verdict = router.judge("7", SEVEN)
        assert (verdict.status, verdict.score) == (status, None)
        assert why in verdict.why


def test_a_function_that_hangs_is_killed_at_the_deadline(functions: Path) -> None:
    with Router(function="mine:hangs", deadline_s=0.5) as router:
        began = time.monotonic()
        assert router.judge("7", SEVEN).status is Status.TIMED_OUT
        assert time.monotonic() - began < 10


def is_running(pid: int) -> bool:
    """A zombie is not: whoever inherits it may take a while to bury it."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("name", ["starts", "starts_and_hangs", "starts_and_dies", "starts_and_hides"])
def test_what_a_function_has_started_ends_with_it(functions: Path, name: str) -> None:
    with Router(function=f"mine:{name}", deadline_s=2.0) as router:
        router.judge("7", SEVEN)
    pid = int((functions / "started").read_text())
    end = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("starts_many", "processes, and 64 are the most"),
        ("eats", "MemoryError"),
        ("fills_the_disk", "File too large"),
    ],
)
def test_a_function_that_would_fill_the_machine_is_ended_and_the_reply_unmeasured(
    functions: Path, name: str, why: str
) -> None:
    with Router(function=f"mine:{name}", deadline_s=50.0) as router:
        verdict = router.judge("7", SEVEN)
        assert (verdict.status, verdict.score) == (Status.FAILED, None)
        assert why in verdict.why
    assert not (functions / "big").exists() or (functions / "big").stat().st_size == 0


def test_what_a_function_prints_is_passed_on_up_to_a_limit(
    functions: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_OUTPUT", 100_000)
    with Router(function="mine:prints_much", deadline_s=50.0) as router:
        assert [router.judge("7", SEVEN).score for _ in range(2)] == [1.0, 1.0]
    told = capfd.readouterr().err
    assert (told.count("\0"), told.count("has printed more than 100,000 bytes")) == (100_000, 1)


def test_an_answer_without_an_end_is_given_up(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_ANSWER", 1_000_000)
    with Router(function="mine:answers_much", deadline_s=50.0) as router:
        verdict = router.judge("7", SEVEN)
    assert verdict.status is Status.FAILED and "answered with more than 1,000,000 bytes" in verdict.why


def test_what_a_function_prints_does_not_disturb_its_score(functions: Path) -> None:
    with Router(function="mine:prints") as router:
        assert router.judge("7", Choice(letter="A")).score == 1.0


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere:f", "No module named 'nowhere'"),
        ("mine:absent", "has no attribute 'absent'"),
        ("mine:number", "mine:number is a int; expected an ordinary function"),
        ("mine:later", "expected an ordinary function"),
    ],
)
def test_a_function_that_cannot_be_had_stops_the_run(functions: Path, path: str, why: str) -> None:
    with Router(function=path) as router, pytest.raises(RecipeError, match=why):
        router.check([SEVEN])


@pytest.mark.parametrize("path", ["brevity", "mine.brevity", "mine:", ":f", "os:system('x')", "../mine:f", "a b:c"])
def test_only_a_module_and_a_function_can_be_named(path: str) -> None:
    with pytest.raises(RecipeError, match="expected module:function"):
        Router(function=path)
