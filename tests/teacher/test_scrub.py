"""A key is nowhere: a canary is planted in every client, and servers send it back in every spelling that we know."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from json_server import headers, serving

from firsthand.config import build
from firsthand.errors import FirsthandError, RecipeError
from firsthand.evaluation.generator import generator_of
from firsthand.evaluation.protocol import Protocol
from firsthand.processor import Encoder
from firsthand.records import Example, OpenEnded
from firsthand.reward import Reward
from firsthand.reward.build import router_of
from firsthand.reward.open_ended import OpenEndedScoring
from firsthand.rollout import Sampling, ServedSampler
from firsthand.teacher import BatchClient, Endpoint, Message, Served, check_endpoints, open_log
from firsthand.teacher.scrub import SHORTEST, Scrubber
from firsthand.worlds import SMALL, generate

KEY = 'sk-canary-Zq8/xW3+Lm"91Tt'
ASKED = Example(question="What is it?", images=(), answer=OpenEnded(reference="a cat"))
SEEN = generate("count", "test", 1)[0]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "json": lambda key: json.dumps(key)[1:-1],
    "slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "unicode": lambda key: "".join(f"\\u{ord(sign):04x}" for sign in key),
    "url": lambda key: quote(key, safe=""),
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "urlsafe": lambda key: base64.urlsafe_b64encode(f"x{key}y".encode()).decode(),
    "start": lambda key: key[:12],
    "end": lambda key: f"...{key[-SHORTEST:]}",
}


def fragments(key: str) -> set[str]:
    """Eight characters and more of the key, as it is and in codes that anybody reads."""
    coded = [key, key.encode().hex(), *(base64.b64encode(b"x" * n + key.encode()).decode()[4:-4] for n in range(3))]
    return {text[i : i + 8] for text in coded for i in range(len(text) - 7)}


def holds_key(text: str) -> bool:
    return any(fragment in text for fragment in fragments(KEY))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_struck_out_in_every_spelling(spelling: str) -> None:
    struck = Scrubber(KEY)(f'{{"error": "you said {SPELLINGS[spelling](KEY)}, which is wrong"}}'.encode())
    assert struck.startswith(b'{"error": "you said ') and struck.endswith(b', which is wrong"}') and b"[key]" in struck
    if spelling != "plain":  # with the key as it is, this is no JSON
        assert not holds_key(json.loads(struck)["error"])
    assert not holds_key(struck.decode())


def test_other_texts_stay_as_they_are_byte_for_byte() -> None:
    for body in (b'{"a": "caf\\u00e9 \\/ b"}', b"\xff\xfe", b"", b"sk-cana", b'{"a": 1e400}'):
        assert Scrubber(KEY)(body) == body == Scrubber(None)(body)
    assert Scrubber(None)(KEY.encode()) == KEY.encode()


def as_teacher(url: str, folder: Path) -> str:
    endpoint = Endpoint(base_url=url, model="m", key_env="CANARY", attempts=1)
    with open_log(folder) as log:
        asked = endpoint.request(Message(role="user", text="caption it"))
        return repr(list(BatchClient(endpoint, log, step="caption").answers([("x", asked)])))


def as_checked(url: str, folder: Path) -> str:
    check_endpoints([Endpoint(base_url=url, model="m", key_env="CANARY", attempts=1)])
    return ""


def as_evaluated(url: str, folder: Path) -> str:
    endpoint = Endpoint(base_url=url, model="m", key_env="CANARY", attempts=1)
    with generator_of(endpoint, Protocol(), folder) as generator:
        return repr(list(generator().answer([ASKED], Protocol())))


def _judged(folder: Path, **scoring: Any) -> str:
    reward = Reward(open=OpenEndedScoring(key_env="CANARY", deadline_s=5.0, **scoring))
    with router_of(reward, folder=folder) as router:
        return router.judge("<answer>a dog</answer>", ASKED).model_dump_json() + reward.model_dump_json()


def as_judge(url: str, folder: Path) -> str:
    return _judged(folder, scorer="judge", url=url, model="m")


def as_service(url: str, folder: Path) -> str:
    return _judged(folder, scorer="service", url=url)


def as_sampler(url: str, folder: Path) -> str:
    settings = Served(url=url, weights=str(folder), key_env="CANARY")
    encoder = Encoder.load(SMALL)
    with ServedSampler(settings, encoder) as sampler:
        return repr(list(sampler.sample([encoder.prompt(SEEN)], 1, Sampling())))


CLIENTS = (as_teacher, as_checked, as_evaluated, as_judge, as_service, as_sampler)


def told_by(client: Callable[[str, Path], str], url: str, folder: Path) -> str:
    """All that a user may see of a client: what it returns or raises."""
    try:
        return client(url, folder)
    except FirsthandError as error:
        return str(error)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_key_that_a_server_sends_back_is_in_no_answer_error_log_or_file(
    client: Callable[[str, Path], str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CANARY", KEY)
    said = " and ".join(f"{name} {spell(KEY)}" for name, spell in SPELLINGS.items() if name not in ("plain", "slashes"))
    body = f'{{"error": "{said}", "choices": [{{"message": {{"content": "{said}"}}, "finish_reason": "stop"}}]}}'
    with serving(lambda _: body.encode(), status) as (url, got):
        told = told_by(client, url, tmp_path)
    assert got and headers[-1]["Authorization"] == f"Bearer {KEY}"
    assert not holds_key(told + caplog.text)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not holds_key(path.read_bytes().decode("latin-1")), path


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_lets_nobody_in_stops_at_once_and_names_the_variable(
    client: Callable[[str, Path], str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on would count every reply as unmeasured, or drop every row."""
    monkeypatch.setenv("CANARY", KEY)
    with serving(lambda _: {"error": "no"}, status) as (url, got), pytest.raises(RecipeError) as caught:
        client(url, tmp_path)
    assert len(got) == 1 and f"answered {status}" in str(caught.value)
    assert "the key in the environment variable CANARY" in str(caught.value)


@pytest.mark.parametrize("model", [Endpoint, OpenEndedScoring])
@pytest.mark.parametrize("given", [KEY, "sk-canary", "two words", ""])
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(model: type[Any], given: str) -> None:
    where = (
        {"base_url": "http://a/v1", "model": "m"} if model is Endpoint else {"scorer": "judge", "url": "http://a/v1"}
    )
    with pytest.raises(RecipeError) as caught:
        build(model, {**where, "model": "m", "key_env": given}, "recipe.yaml")
    assert "expected the name of an environment variable" in str(caught.value)
    assert not given or given not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-canary\nX-Other: 1")
    with pytest.raises(RecipeError, match="one line of ASCII") as caught:
        Endpoint(base_url="http://a/v1", model="m", key_env="CANARY").key()
    assert "sk-" not in str(caught.value)
