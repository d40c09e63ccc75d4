"""Strict reading: what a reply states as its answer, and that nothing is guessed where it states none or several."""

import time

import pytest
from hostile import HOSTILE_PIECES

from firsthand.answers.stated import LONGEST_ANSWER
from firsthand.evaluation.benchmarks.spec import GOLD_RULE, Benchmark, Gold
from firsthand.evaluation.benchmarks.strict import judge_strictly, verdict_by_rule
from firsthand.records import Answer, Choice, Digit, Example, Expression, Letters, Status, Text
from firsthand.reward import Router

GOLDS = (
    Gold(kind="choice"),
    Gold(kind="letters"),
    Gold(kind="digit", tolerance=0.001),
    Gold(kind="digit"),
    Gold(kind="text"),
    Gold(kind="math"),
)
BENCHMARK = Benchmark(title="Made up", files=("none",), gold=GOLDS)
WITH_JSON = BENCHMARK.model_copy(update={"short_answer": "short answer"})
DEGREES = ("20°", "30°", "40°", "50°")
Kind = tuple[int, Answer]
"""The rule of `GOLDS` and a gold answer."""
B: Kind = (0, Choice(letter="B", options=DEGREES))
BARE_B: Kind = (0, Choice(letter="B"))
AC: Kind = (1, Letters(letters="AC"))
ONLY_B: Kind = (1, Letters(letters="B"))
HALF: Kind = (2, Digit(value="0.5"))
TWELVE: Kind = (3, Digit(value="12"))
THOUSANDS: Kind = (3, Digit(value="1234"))
RISING: Kind = (4, Text(value="increasing"))
ROOT: Kind = (5, Expression(latex="2\\sqrt{3}"))
FIVE: Kind = (5, Expression(latex="5"))

RIGHT: list[tuple[Kind, str]] = [
    # short replies of instruct models
    (B, "B"),
    (B, "B."),
    (B, "(B)"),
    (B, "b"),
    (B, "**B**"),
    (B, "B. 30°"),
    (B, "B) 30°"),
    (B, "30°"),
    (B, "Option B"),
    (B, "$\\boxed{B}$"),
    (B, "The answer is (B)."),
    (B, "The correct answer is B"),
    (B, "The correct option is B."),
    (TWELVE, "12"),
    (TWELVE, "12 cm"),
    (TWELVE, "12.0"),
    (TWELVE, "There are 12 dogs."),
    (THOUSANDS, "1,234"),
    (THOUSANDS, "1{,}234"),
    (RISING, "Increasing."),
    (ROOT, "2\\sqrt{3}"),
    (ROOT, "$\\sqrt{12}$"),
    # after some steps
    (B, "The sum is 180°.\nSo the third angle is 30°.\n\nThe answer is (B)."),
    (B, "First add.\nThen halve.\n**Answer:** B"),
    (B, "First add.\n**Answer: B**"),
    (B, "First add.\n**Answer**: **B**."),
    (B, "Add.\nAnswer: (B) 30°"),
    (B, "Add.\n### Answer\nB"),
    (B, "Add.\n## Final Answer\n\n**B. 30°**"),
    (B, "Add.\n\nFinal Answer: The final answer is $B$. I hope it is correct."),
    (B, "Add.\nTherefore, the correct answer is **B. 30°**."),
    (B, "Add.\nTherefore, the correct option is:\n\nAnswer: B"),
    (B, "<Thought process>: <<The answer is near A.>> <Answer>: <<B>>"),
    (B, "Thought process: add.\nAnswer: <<B>>"),
    (B, "Thought process: add.\nAnswer: << B >>."),
    (B, "I think the answer is B because the triangle is isosceles."),
    (B, "I think the answer is B, because the triangle is isosceles.\nThat is all."),
    (B, "The answer is B. Because two sides are equal, it is an acute angle."),
    (B, "The answer is (B), since two sides are equal."),
    (B, "Look.\nThe answer is option B because it is the only acute one."),
    (BARE_B, "Look.\nThe answer is B. The triangle is isosceles."),
    (BARE_B, "Answer: B. the triangle is isosceles."),
    (BARE_B, "The correct answer is B: 30°"),
    (TWELVE, "Add.\nThe answer is 12. This is because 5 + 7 = 12."),
    (TWELVE, "Add.\nThe answer is 12 because 5 + 7 = 12."),
    (TWELVE, "Add.\nThe answer is **12**."),
    (TWELVE, "Add.\nThe answer is $12$."),
    (TWELVE, "Add.\nAnswer: 12 cm"),
    (TWELVE, "Add.\nAnswer = 12"),
    (TWELVE, "Add.\nThe final answer is:\n\n12"),
    (TWELVE, "Add.\nThe final answer is:\n\n$$\n12\n$$"),
    (TWELVE, "Add.\nThe final answer is:\n\\[\n12\n\\]\nDone."),
    (TWELVE, "Add.\nThe answer is \\(12\\)"),
    (THOUSANDS, "Multiply.\nThe answer is 1,234."),
    (THOUSANDS, "Multiply.\nThe answer is $1{,}234."),
    (RISING, "It grows.\nThe answer is increasing."),
    (RISING, "It grows.\nAnswer: Increasing. The slope is positive."),
    (HALF, "Halve.\nThe answer is 0.5001"),
    (HALF, "Halve.\nThe answer is 1/2."),
    (HALF, "Halve.\nThe answer is $\\frac{1}{2}$."),
    (BARE_B, "Look.\nThe correct option is (B). It is acute."),
    (B, "Look.\nA and C are wrong. Therefore, option B is correct."),
    (B, "Look.\nThe answer to the question is B."),
    (TWELVE, "The final answer to this arithmetic problem is 12."),
    (TWELVE, "Add.\nThe answer to the given equation is 12, as wanted."),
    (B, "看图。\n正确选项是B。"),
    # boxed
    (B, "Add.\nHence \\boxed{B}."),
    (B, "Add.\nHence $\\boxed{\\text{B}}$ holds."),
    (B, "Add.\nHence $\\boxed{\\text{(B)}}$."),
    (B, "Add.\nHence \\boxed{\\textbf{B}}"),
    (B, "Add.\nHence \\boxed{B. 30°}"),
    (TWELVE, "So x = \\boxed{5} at first, and after adding seven more it is \\boxed{12}."),
    (TWELVE, "\\[\n\\boxed{12}\n\\]\nThe answer is reasonable."),
    (TWELVE, "So $\\boxed{12}$.\n\nIn short, the answer is $\\boxed{12}$."),
    (TWELVE, "So \\boxed{12}, that is\n\n\\boxed{12}"),
    (TWELVE, "The area is \\boxed {12}, as\nwanted."),
    (TWELVE, "The area is\n\\fbox{12}"),
    (ROOT, "Thus\n$$x = \\boxed{2\\sqrt{3}}$$"),
    (ROOT, "Thus \\{1\\} is no solution and\n\\boxed{\\boxed{2\\sqrt{3}}}"),
    # a remark behind the letter
    (B, "The answer is B. Note that A is a distractor."),
    (B, "The correct answer is B. Here's why: option A is acute."),
    (B, "Look.\nThe correct answer is **B. 30°**. Here's why: option A is acute."),
    (B, "The answer is B. A and C are distractors."),
    (B, "The answer is B. This is because two sides are equal."),
    (BARE_B, "The answer is B. Note that A is a distractor."),
    # announced in other ways
    (B, "Look.\nFinal answer → B"),
    (B, "Look.\n✅ **Final Answer: B**"),
    (B, "**Final Answer**\n\\boxed{B}"),
    (B, "Look.\nThe answer is 30 degrees (B)."),
    (B, "Look.\nAnswer: B. $30^\\circ$"),
    (B, "Look.\nTherefore, B is the correct answer."),
    (B, "Look.\nOption B is the correct choice."),
    (B, "Look.\nThe answer must be B."),
    (B, "Look.\nI would choose B."),
    (B, "Ans: B"),
    (B, "Look.\nCorrect option: B"),
    (TWELVE, "Look.\nThe answer would be 12 dogs."),
    (TWELVE, "Look.\nFinal answer → 12"),
    (TWELVE, "Look.\n#### 12"),
    (TWELVE, "Look.\nThe answer is \\boxed{12} dogs."),
    (TWELVE, "Total: 12"),
    (TWELVE, "The number of dogs in the picture is 12."),
    (THOUSANDS, "The total is $1,234.00."),
    # the statement after the box is the last word
    (TWELVE, "The side is \\boxed{5}.\nAdding 7, the answer is 12."),
    # tags and thinking
    (B, "<think>Maybe A? The answer is A.</think><answer>B</answer>"),
    (B, "<think>Maybe A? The answer is A.</think>\n\nThe answer is B."),
    (B, "Let me see: A is wrong.</think>\n\n**B**"),
    (B, "<answer>The answer is B.</answer>"),
    (TWELVE, "Add.\n<answer>\\boxed{12}</answer>"),
    (TWELVE, "<think>\\boxed{5}</think>\nAdd.\n\\boxed{12}"),
    # the answer first
    (B, "The answer is B.\n\nExplanation: the angles at the base are equal, and A, C and D do not fit."),
    (B, "**Answer:** B\n\n**Reasoning:** The sum is 180°. However, the figure is not to scale."),
    (TWELVE, "Answer: 12\n\nExplanation: 5 + 7 is 12."),
    # base models go on
    (TWELVE, "Answer: 12\n\nQuestion: What is 2 + 2?\nAnswer: 4"),
    (B, "The answer is B.\n\nHuman: And the next one?\nAssistant: The answer is C."),
    (B, "Question: Which angle?\nAnswer: B\n\nQ: Which side?\nAnswer: C"),
    # corrected
    (B, "The answer is A. Wait, that is an acute one. The answer is B."),
    (B, "The answer is A.\nNo, that is the other angle.\nThe answer is B."),
    (TWELVE, "If the answer is 5, the sides do not close.\nThe answer is 12."),
    (TWELVE, "The answer is 12.\nIf the answer is 5, the sides do not close."),
    # letters
    (AC, "A, C"),
    (AC, "AC"),
    (AC, "C and A"),
    (AC, "(A), (C)"),
    (AC, "A & C"),
    (AC, "Look.\nThe answer is A and C."),
    (AC, "Look.\nThe answer is **A, C**"),
    (AC, "\\boxed{A, C}"),
    (AC, "答案是A、C。"),
    (AC, "答案是A和C。"),
    (AC, "A/C"),
    (AC, "(A)(C)"),
    (AC, "A and C are correct."),
    (AC, "The correct options are A and C"),
    (AC, "Look.\nThe correct options are A and C. Note that B is a distractor."),
    (AC, "Look.\nThe correct answers are (A) and (C)."),
    (AC, "选AC"),
    (AC, "看圖。\n故選：A、C"),
    (ONLY_B, "The answer is B. Note that A is a distractor."),
    (ONLY_B, "B. the square turns"),
    (ONLY_B, "Option B"),
    (ONLY_B, "Look.\nThe answer is (B) 90 degrees."),
    (ONLY_B, "Look.\nThe correct answer is B because the square turns."),
    # Chinese
    (B, "答案是B"),
    (B, "正确答案是（B）。"),
    (B, "三角形内角和为180°。\n所以答案是B。"),
    (B, "三角形内角和为180°。\n因此,答案为:B"),
    (B, "三角形内角和为180°。\n故选:B."),
    (B, "三角形内角和为180°。\n故选B。"),
    (B, "三角形内角和为180°。\n所以选择B,因为两底角相等。"),
    (TWELVE, "相加。\n答案：12个"),
    (TWELVE, "相加。\n答案是十二。"),
    (TWELVE, "相加。\n答案是12厘米。以上就是解答。"),
    (TWELVE, "一共有12个"),
    (TWELVE, "一共有十二個。"),
    (TWELVE, "相加。\n故答案为：12"),
    (B, "看图。\n答案选B"),
    (B, "看图。\n综上所述，选B。"),
    (B, "看图。\n我认为应该选B"),
    (B, "看图。\n选B。"),
    (B, "看图。\n因此，选项B是正确的。"),
    (B, "看图。\n因此，B是正确答案。"),
    (B, "看图。\n正确的是B。"),
    (B, "看图。\n【答案】B"),
    (B, "看图。\n**答案**：B"),
    (B, "正确的是（　）\n故选B。"),
    (B, "看图。\n**最终答案**\n\nB"),
    (B, "看圖。\n故選：B"),
    (B, "看圖。\n正確選項是B"),
    (B, "看圖。\n最終答案：「B」"),
    (B, "看圖。\n因此，正確答案是B，因為兩底角相等。"),
    (B, "看圖。\n我認為應該選 B"),
]

NOT_RIGHT: list[tuple[Kind, str]] = [
    # nothing stated
    (B, ""),
    (B, "   \n"),
    (B, "I cannot see the picture."),
    (B, "The angle is 30°\nand the triangle is isosceles."),
    (B, "The answer is"),
    (B, "The answer is:\n"),
    (B, "The answer is unclear."),
    (B, "The answer is clear: it must be larger."),
    (B, "The answer is between A and C."),
    (B, "The answer is below."),
    (B, "Before we answer, B is a letter.\nDone."),
    # truncated
    (B, "<think>The answer is B."),
    (B, "<think>The answer is B.</think>\nFirst, the sum"),
    (B, "First, the sum of the angles is 180.\nThen B"),
    (TWELVE, "Answer: 12\nor rather \\boxed{1"),
    (TWELVE, "So \\boxed{12}. Wait, that is not it: \\boxed{1"),
    (B, "<answer>B"),
    (B, "B</answer>"),
    # several
    (B, "Answer: A or B"),
    (B, "Answer: B or A"),
    (B, "Answer: B, C"),
    (B, "Answer: B / C"),
    (B, "The answer is B or maybe C."),
    (B, "The answer is either A or B."),
    (B, "The answer is not B but C."),
    (B, "The answer is not B."),
    (B, "The answer isn't B."),
    (B, "I do not think the answer is B."),
    (B, "I don't think the answer is B."),
    (B, "The wrong answer is B."),
    (B, "If B is the correct answer, the sides do not close.\nDone."),
    (B, "Look.\nThe answer could be B"),
    (B, "Look.\nI would not choose B."),
    (B, "Look.\nSo B is not correct.\nDone."),
    (B, "The student's answer is B."),
    (B, "If the answer is B, the sides do not close.\nDone."),
    (TWELVE, "Suppose the answer is 12.\nThen the sides do not close."),
    (B, "\\boxed{A} or \\boxed{B}"),
    (B, "\\boxed{A}\n\\boxed{B}"),
    (B, "\\boxed{A}, \\boxed{C}, \\boxed{D}, \\boxed{B}"),
    (FIVE, "x = \\boxed{1} and x = \\boxed{5}"),
    (B, "Answer: A\nAnswer: B"),
    (B, "Answer: A. Answer: C. Answer: D. Answer: B."),
    (B, "<answer>A</answer><answer>B</answer>"),
    (B, "A\nB\nC\nD"),
    (B, "A, B, C, D"),
    (B, "B? No, C."),
    (BARE_B, "Answer: B) is wrong"),
    (BARE_B, "Answer: B. or C."),
    (BARE_B, "Answer: B. Actually it's C"),
    (BARE_B, "B. Actually it's C"),
    (BARE_B, "The answer is (B) or (C)"),
    (ONLY_B, "Answer: (B) is incorrect"),
    (ONLY_B, "Answer: B - not sure"),
    (B, "Look.\nTherefore, option B is wrong."),
    (B, "Look.\nTherefore, option B or C is correct."),
    (B, "The answer is B. Note that it could also be C."),
    (B, "The answer is B or C. Note that A is wrong."),
    (B, "The answer is B. Note that the answer may be read as A."),
    (AC, "The correct options are A or C"),
    (AC, "A and C are wrong"),
    (AC, "不选AC"),
    (TWELVE, "The total is 12 or 13."),
    (TWELVE, "12 of 15 dogs"),
    # taken back
    (B, "I think the answer is B. Wait, the answer is unclear"),
    (B, "The answer is B.\nWait, let me look again."),
    (B, "The answer is B.\n\nHmm, that is not right: it must be C."),
    (TWELVE, "So \\boxed{12}.\nWait, I forgot a side, so it is 13."),
    (TWELVE, "The answer is 12. Actually, it is 13."),
    (TWELVE, "The answer is 12.\nLet me recheck the figure."),
    (B, "The answer is C.\n\nQuestion: Which?\nAnswer: B"),
    (B, "所以答案是B。\n等等,我算错了,应该更大。"),
    (B, "答案不是B而是C"),
    (B, "不应选B"),
    (B, "看图。\n不选B"),
    (B, "错误答案是B"),
    (B, "看图。\n不正确的选项是B。\n完。"),
    (B, "我不认为答案是B"),
    (B, "是否应该选B"),
    (B, "看圖。\n本題不選B"),
    (B, "看图。\n所以选项B错误。\n完。"),
    (B, "看图。\n选B还是选C？\n不知道。"),
    (B, "看圖。\n答案是B。\n等等，算錯了。"),
    (TWELVE, "至少有12个"),
    (B, "答案是B或C"),
    (B, "如果答案是B,两边不能闭合。\n完。"),
    # the letter and its text disagree
    (B, "B. 40°"),
    (B, "The answer is B. 40°"),
    (B, "B) 20°"),
    (B, "C. 30°"),
    (B, "The answer is A because the triangle is B."),
    # another value stated last
    (TWELVE, "The side is \\boxed{12}.\nAdding 7, the answer is 19."),
    (TWELVE, "The answer is 12.\nAnswer: 13, all in all."),
    # other values
    (TWELVE, "13"),
    (TWELVE, "about 12"),
    (TWELVE, "12 or 13"),
    (TWELVE, "12-13"),
    (TWELVE, "The answer is 12 plus 1."),
    (TWELVE, "The answer is 12 dozen"),
    (TWELVE, "The answer is 12. Or 13."),
    (TWELVE, "The answer is 1 2"),
    (TWELVE, "The answer is -12"),
    (TWELVE, "12 \\text{ or } 13"),
    (FIVE, "The answer is \\text{not } 5"),
    (FIVE, "The answer is 5 or 6"),
    (FIVE, "The answer is 5, 6"),
    (FIVE, "Either\n\\boxed{5 \\text{ or } 6}"),
    (FIVE, "The answer is not 5"),
    (HALF, "The answer is 0.502"),
    (HALF, "The answer is 0.5 or 0.6"),
    (RISING, "in"),
    (RISING, "not increasing"),
    (RISING, "The answer is increasing or decreasing."),
    (RISING, "The answer is first decreasing, then increasing."),
    (AC, "A"),
    (AC, "A, B, C"),
    (AC, "A or C"),
    (AC, "not A, C"),
    (AC, "a circle"),
    (ONLY_B, "A, B"),
    (ONLY_B, "BB8"),
    (ONLY_B, "The square turns by 90 degrees."),
    (ONLY_B, "Answer: B and D"),
]

JSON_RIGHT: list[tuple[Kind, str]] = [
    (BARE_B, '{"solution": "Add.", "short answer": "B"}'),
    (BARE_B, '```json\n{\n "solution": "Add.",\n "short answer": "B"\n}\n```'),
    (BARE_B, 'Here it is:\n{"solution": "Add \\frac{1}{2}.", "short answer": "B"}'),
    (BARE_B, 'As \\frac{1}{2} < 1:\n{"solution": "Add.", "short answer": "B"}'),
    (BARE_B, '{"solution": "He said "no".", "short answer": "B"}'),
    (BARE_B, '{"solution": "two\nlines", "short answer": "B"}'),
    (BARE_B, '{"solution": "The answer is A at first.", "short answer": "(B)"}'),
    (HALF, '{"solution": "Halve.", "short answer": 0.5}'),
    (HALF, '{"solution": "Halve.", "short answer": "0.500"}'),
    (HALF, '{"solution": "Halve.", "short answer": "\\\\frac{1}{2}"}'),
    (HALF, '{"solution": "Halve.", "short answer": "\\frac{1}{2}"}'),
    (TWELVE, '{"solution": "Add.", "short answer": 12}'),
    (TWELVE, '<answer>{"solution": "Add.", "short answer": "12"}</answer>'),
    (TWELVE, "No JSON, but\nthe answer is 12."),
    (RISING, '{"solution": "It grows.", "short answer": "increasing"}'),
]
JSON_NOT_RIGHT: list[tuple[Kind, str]] = [
    (BARE_B, '{"solution": "Add.", "short answer": null}'),
    (BARE_B, '{"solution": "Add.", "short answer": ["B"]}'),
    (BARE_B, '{"solution": "Add.", "short answer": ""}'),
    (BARE_B, '{"solution": "Add, so it is B'),
    (BARE_B, '{"solution": "Add.", "short answer": "A or B"}'),
    ((4, Text(value="True")), '{"solution": "It grows.", "short answer": true}'),
    (TWELVE, '{"solution": "The answer is 12.", "short answer": "13"}'),
    (TWELVE, '{"solution": "12 is {not} it", "short answer": "13"} and more {12}'),
]


def example(kind: Kind) -> Example:
    return Example(question="?", images=(), answer=kind[1], meta={GOLD_RULE: str(kind[0])})


def score(router: Router, benchmark: Benchmark, kind: Kind, reply: str) -> float | None:
    (verdict,) = judge_strictly(benchmark, router, [(reply, example(kind))])
    return verdict.score


@pytest.mark.parametrize(("kind", "reply"), RIGHT)
def test_a_stated_right_answer_is_right(router: Router, kind: Kind, reply: str) -> None:
    assert score(router, BENCHMARK, kind, reply) == 1.0


@pytest.mark.parametrize(("kind", "reply"), NOT_RIGHT)
def test_what_is_not_stated_or_is_another_answer_is_not_right(router: Router, kind: Kind, reply: str) -> None:
    assert score(router, BENCHMARK, kind, reply) == 0.0


@pytest.mark.parametrize(("kind", "reply"), JSON_RIGHT)
def test_a_short_answer_is_read_from_json_with_its_faults(router: Router, kind: Kind, reply: str) -> None:
    assert score(router, WITH_JSON, kind, reply) == 1.0


@pytest.mark.parametrize(("kind", "reply"), JSON_NOT_RIGHT)
def test_json_without_a_right_short_answer_is_not_right(router: Router, kind: Kind, reply: str) -> None:
    assert score(router, WITH_JSON, kind, reply) == 0.0


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "an empty reply"),
        ("The answer is 5.\nWait, no.", "the answer is taken back"),
        ("<answer>5</answer><answer>6</answer>", "2 <answer> blocks instead of one"),
    ],
)
def test_a_reply_without_an_answer_says_why_and_counts_as_wrong(router: Router, reply: str, why: str) -> None:
    (verdict,) = judge_strictly(BENCHMARK, router, [(reply, example(TWELVE))])
    assert (verdict.score, verdict.status, verdict.why) == (0.0, Status.WRONG_FORMAT, why)


def test_what_the_verifiers_of_training_know_is_left_to_them() -> None:
    assert verdict_by_rule("B", Choice(letter="B"), Gold(kind="choice")) is None
    assert verdict_by_rule("12", Digit(value="12"), Gold(kind="digit")) is None
    assert verdict_by_rule("5", Expression(latex="5"), Gold(kind="math")) is None


@pytest.mark.parametrize(("answer", "score"), [("0.501", 1.0), ("0.4990001", 1.0), ("0.5011", 0.0), ("50", 0.0)])
def test_a_tolerance_is_how_far_a_number_may_be_off(answer: str, score: float) -> None:
    gold = Gold(kind="digit", tolerance=0.0010000001)
    verdict = verdict_by_rule(answer, Digit(value="0.5"), gold)
    assert verdict is not None and (verdict.score, verdict.status) == (score, Status.OK)


@pytest.mark.parametrize("gold", GOLDS[1:5])
def test_an_answer_that_is_no_answer_of_its_kind_is_unparsed(gold: Gold) -> None:
    golds: dict[str, Answer] = {"letters": Letters(letters="A"), "text": Text(value="a"), "digit": Digit(value="12")}
    expected = golds[gold.kind]
    verdict = verdict_by_rule("x" * (LONGEST_ANSWER + 1), expected, gold)
    assert verdict is not None and (verdict.score, verdict.status) == (0.0, Status.UNPARSED)


def test_verdicts_come_in_the_order_of_the_replies(router: Router) -> None:
    kinds = [B, ONLY_B, TWELVE, B, FIVE, RISING]
    replies = ["B", "C", "12", "<think>", "\\boxed{5}", "falling"]
    verdicts = judge_strictly(BENCHMARK, router, list(zip(replies, map(example, kinds), strict=True)))
    assert [v.score for v in verdicts] == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_a_rendered_example_goes_to_the_verifiers_of_training(router: Router) -> None:
    plain = Example(question="?", images=(), answer=Digit(value="12"))
    (verdict,) = judge_strictly(BENCHMARK, router, [("The answer is 12.", plain)])
    assert verdict.score == 1.0


@pytest.mark.parametrize("piece", HOSTILE_PIECES, ids=repr)
def test_hostile_answers_are_compared_in_linear_time(router: Router, piece: str) -> None:
    body = piece * (LONGEST_ANSWER // len(piece))
    start = time.process_time()
    for gold, expected in zip(GOLDS[1:5], (AC[1], HALF[1], TWELVE[1], RISING[1]), strict=True):
        verdict_by_rule(body, expected, gold)
    assert time.process_time() - start < 2.0
