"""Chat templates are programs of others: the text is what transformers makes of them, and none runs on for ever."""

import os
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_tokenizer
from transformers import AutoTokenizer

from firsthand.errors import DataError
from firsthand.processor import rendering
from firsthand.processor.picture_tokens import CHAT_TEMPLATE as OF_PICTURES
from firsthand.processor.rendering import rendered
from firsthand.workers import pool
from firsthand.workers.pool import WorkerPool, shared_pool
from firsthand.worlds import SMALL

TALK = [
    {"role": "system", "content": "Be brief. <b> & 'quotes'", "name": None},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many × are there?\n"}]},
    {"role": "assistant", "content": "ü 7"},
]
PARTS = """
{%- for message in messages -%}
    {%- if message.role == 'system' %}{{ bos_token | default('') }}{{ message.content | trim | upper }}
    {% else %}
        {%- if message['content'] is string %}{{ message | tojson }}
        {%- else %}{% for part in message.content %}{% if part.type == 'image' %}<img>{% continue %}{% endif %}
            {{- part.text }}{% endfor %}{% endif %}
    {%- endif %}
{% endfor %}
"""
TEMPLATES = {
    "parts": PARTS,
    "pictures": OF_PICTURES,
    "namespace": "{% set n = namespace(i=0) %}{% for m in messages %}{% set n.i = n.i + 1 %}{% endfor %}{{ n.i }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}",
    "dict": "{{ dict(a=1, b=eos_token) | tojson(indent=2) }}{{ dict.fromkeys(['x']) }}{{ tools is none }}",
    "macro": "{% macro say(m) %}{{ m.role }}:{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
}


def with_template(template: str | None) -> Any:
    tokenizer: Any = tiny_tokenizer() if template else AutoTokenizer.from_pretrained(str(SMALL))
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("template", [None, *TEMPLATES.values()], ids=["small", *TEMPLATES])
def test_the_text_is_that_of_transformers(template: str | None, is_asked: bool) -> None:
    tokenizer = with_template(template)
    expected = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=is_asked)
    assert rendered(tokenizer, TALK, "here", add_generation_prompt=is_asked) == expected != ""


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LOOP, "none that ends within"),
        ("{{ 'x' * 10 ** 10 }}", "a text that takes more than 1,024 MiB"),
        ("{{ 'x' * (5000000 + messages | length) }}", "a text of more than 4,194,304 characters"),
        ("{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}", "a text of more than 4,194,304 characters"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ namespace(__class__=1) }}", "begins with an underscore"),
        ("{{ raise_exception('no system prompt') }}", "got: no system prompt"),
        ("{{ messages[9].content }}", "got: "),
        ("{% if %}", "got: "),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_that_does_not_end_or_makes_too_much_is_one_error_and_the_next_one_is_rendered(
    template: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if template is LOOP:
        impatient = WorkerPool(1, 1.0, (rendering._TASK,))
        monkeypatch.setattr(pool, "_SHARED", {(os.getpid(), rendering._TASK): impatient})
    with pytest.raises(DataError, match=r"^here: expected a conversation that .*chat template takes, got") as caught:
        rendered(with_template(template), TALK, "here", add_generation_prompt=True)
    assert said in str(caught.value)
    assert rendered(with_template("{{ messages[0].role }}"), TALK, "here", add_generation_prompt=True) == "system"
    if template is LOOP:
        impatient.close()


def test_a_process_that_is_forked_has_a_worker_of_its_own(tmp_path: Path) -> None:
    """Two that spoke through the same pipes would read each other's texts."""
    tokenizer = with_template("{{ messages[0].content }}")
    rendered(tokenizer, TALK, "here", add_generation_prompt=True)
    ours = shared_pool(rendering._TASK, 20.0)
    child = os.fork()
    if child == 0:
        is_other = shared_pool(rendering._TASK, 20.0) is not ours
        os._exit(0 if is_other else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
