"""MathVision's equality in a worker: as VLMEvalKit has it, and nothing of a reply is carried out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.workers.pool import MATHVISION, WorkerPool
from firsthand.workers.zygote import load_task


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    started = WorkerPool(1, 20.0, (str(MATHVISION),))
    yield started
    started.close()


def equal(pool: WorkerPool, answer: str, gold: str) -> tuple[bool, str]:
    found = pool.ask({"answer": answer, "gold": gold})
    return found["equal"], found["quirk"]


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch {}') + 14",
        "open('{}', 'w').write('') + 14",
        "(lambda: open('{}', 'w').write('') + 14)()",
        "[open('{}', 'w') for _ in (1,)][0] or 14",
        "exec('import os; os.system(\"touch {}\")') or 14",
        "().__class__.__base__.__subclasses__()[0] or open('{}', 'w')",
        "a.__class__.__init__.__globals__['os'].system('touch {}') or 14",
        "max(14, key=lambda x: open('{}', 'w'))",
        'f\'{{open("{}", "w")}}\'',
        "\\text{{__import__('os').system('touch {}')}}14",
        "(x := open('{}', 'w')) and 14",
        "print(14, file=open('{}', 'w'))",
    ],
)
def test_a_reply_is_never_carried_out(pool: WorkerPool, tmp_path: Path, code: str) -> None:
    file = tmp_path / "x"
    answer = code.format(str(file))
    # lower case, as everything that is compared; the gold, too, comes from a file that somebody has made
    assert answer == answer.lower(), "the attack would fail for its spelling"
    assert equal(pool, answer, "14")[0] is False
    pool.ask({"answer": "14", "gold": answer})
    assert not file.exists()


@pytest.mark.parametrize(
    "code", ["(lambda: 14)()", "[x for x in (14,)][0]", "(14).real", "14 if 1 else 0", "int('14')", "a.real", "14 or 1"]
)
def test_what_is_no_arithmetic_is_not_carried_out_as_python(code: str) -> None:
    task = load_task(str(MATHVISION))
    with pytest.raises((ValueError, KeyError)):
        task._equal_as_python("14", code)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("a", "14", (True, "name_a")),
        ("A", "14", (True, "name_a")),
        ("a + 0", "14", (True, "name_a")),
        ("a", "36\\pi", (False, "")),  # a gold that Python cannot read is not in `a`
        ("b", "14", (False, "")),
        ("2^3", "1", (True, "")),  # Python's xor
        ("2^3", "8", (True, "")),  # and LaTeX's power
        ("2^{3}", "1", (False, "")),
        ("2**3", "8", (True, "")),
        ("50 %", "50%", (False, "")),
        ("50\\%", "50%", (False, "")),
        ("50%", "0.5", (False, "")),
        ("50%", "50%", (True, "")),
        ("7 % 4", "3", (True, "")),  # Python's remainder
        ("1,024", "1024", (True, "")),
        ("1:2", "1/2", (True, "")),
        ("\\frac{1}{2}", "0.5", (True, "")),
        ("14.0000001", "14", (True, "")),
        ("14.00001", "14", (False, "")),
        ("\\sqrt{12}", "2\\sqrt{3}", (False, "")),
        ("max(3, 14)", "14", (True, "")),
        ("'14'", "14", (True, "")),
        ("true", "1", (False, "")),
        ("\u221214", "-14", (True, "")),
        ("14\u00b0", "14", (False, "")),
        ("\u5341\u56db", "14", (False, "")),
        ("\U0001f600", "14", (False, "")),
        ("\ud800", "14", (False, "")),
        ("\x00", "14", (False, "")),
        ("", "14", (False, "")),
        ("(" * 100, "14", (False, "")),
    ],
)
def test_free_answers_are_equal_as_python_or_latex_have_it(
    pool: WorkerPool, answer: str, gold: str, expected: tuple[bool, str]
) -> None:
    assert equal(pool, answer, gold) == expected
