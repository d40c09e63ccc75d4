"""The judge's prompts, in our words: they ask what VLMEvalKit asks for each set, with examples of the same kinds.

A judge's number depends on its wording. `PROMPTS_VERSION` stands with every number and in every request's identity.
"""

import re

PROMPTS_VERSION = 1

TAKE_ANSWER = """\
A model was asked a question and has replied. Find the final answer in its reply, and write that answer alone.
The hint says which form the answer has: a letter, a whole number, a number with so many decimals, or a list.

Hint: The answer is a whole number, such as 1, 2 or 3.
Question: How many panes of the window are broken?
Reply: Two in the top row and one below, so three panes are broken.
Answer: 3

Hint: The answer is a number with one decimal, such as 1.2 or 1.3.
Question: Which share of the marbles is blue?
Reply: 8 of the 20 marbles are blue, which is a share of 0.4.
Answer: 0.4

Hint: The answer is a number with two decimals, such as 1.23 or 1.34.
Question: What do the pear and the plum cost together? (Unit: $)
Reply: The pear is $0.85 and the plum $0.40, $1.25 together.
Answer: 1.25

Hint: The answer is a list, such as [1, 2, 3] or [1.2, 1.3].
Question: In which two years was the bar highest?
Reply: The bars of 2011 and 2014 are the highest.
Answer: [2011, 2014]

Hint: The answer is the letter of an option, such as A, B, C or D.
Question: Which part of the disc is red?
Choices: (A) 1/4 (B) 3/8 (C) 1/2 (D) 5/8
Reply: Three of the eight sectors are red, that is (B) 3/8.
Answer: B

{question}
Reply: {reply}
Answer:"""

EXTRACT = """\
Below is a model's reply to a mathematical problem. Write its final answer alone, without any explanation.
If the reply gives no answer, write null.

Reply: 'Rounded to one decimal, the centre lies at:\n\n(3, -4.5)'
Answer: (3, -4.5)

Reply: 'so the statement that fits the graph is:\n\nC. The two lines meet once.'
Answer: C

Reply: 'Domain: \\([-2, 5)\\), and the values run over \\((0, 7]\\)'
Answer: Domain: \\([-2, 5)\\), range: \\((0, 7]\\)

Reply: 'Without the length of AB the angle cannot be found.'
Answer: null

Reply: 'h = 12.4 / tan(31 degrees), so to one decimal the tower is 20.6 m high.'
Answer: 20.6

Reply: 'The parabola is therefore \\( f(x) = 2x^2 - 3 \\)'
Answer: f(x) = 2x^2 - 3

Reply: '{reply}'
Answer:"""

CONSISTENT = """\
Here are two answers to one mathematical problem: the standard answer, and one that was taken from a model's reply.
Decide whether they are consistent. The model's answer must match the standard answer completely. Where the problem is
not multiple choice, the same meaning in another form counts as consistent, such as 0.5 m and 50 cm.
Write 1 if they are consistent and 0 if they are not, and nothing else.

Problem: Give the numbers that are marked on the line, as an interval.
Standard answer: [-1, 4)
Model's answer: (-1, 4)
Verdict: 0

Problem: A circle has radius 2. How long is the chord?
Choices: A: 2 B: 2\u221a2 C: \u221a2 D: 4
Standard answer: B
Model's answer: D: 4
Verdict: 0

Problem: Find domain and range of f.
Standard answer: domain: (0, 3], range: [-2, 2]
Model's answer: range: [-2, 2)
Verdict: 0

Problem: A circle has radius 2. How long is the chord?
Choices: A: 2 B: 2\u221a2 C: \u221a2 D: 4
Standard answer: B
Model's answer: null
Verdict: 0

Problem: {question}
Standard answer: {gold}
Model's answer: {answer}
Verdict:"""

SHORT_ANSWER_SYSTEM = "You turn free answers into short ones, in the form that you are told."

SHORT_ANSWER = """\
An answer in free form: {reply}
What to write: {form}"""

ANSWER_FORMS = {
    "multiple choice": "the letter of the chosen option, such as A, B, C or D, on one line.",
    "float": "the number with three decimals, on one line.",
    "text": "a short answer on one line; a number in it has three decimals.",
}
"""By DynaMath's types of answers."""

CHOOSE = """\
You match an answer with the options of a question. You are given the question, its options and the answer; find the
option that is closest to the answer. If all options mean something quite different, write Z.
Write one capital letter: that of an option, or Z.

Question: <start>
Which animal is on the roof?
Options: A. stork B. squirrel C. cat D. magpie
<end>
Answer: <start>
a large white stork
<end>
Letter: A

Question: <start>
Which animal is on the roof?
Options: A. stork B. squirrel C. cat D. magpie
<end>
Answer: <start>
A ladder
<end>
Letter: Z

Question: <start>
{question}
Options: {options}
<end>
Answer: <start>
{reply}
<end>
Letter:"""

LETTERS_OF = """\
You find out which options an answer has chosen. The answer names one option or several, and may explain why.
If it names none, infer the option from what it says and from the options of the question. If it fits none of them, or
chooses nothing, write Z. Write the letters only.

Question: <start>
Which animal is on the roof? A. stork B. squirrel C. cat D. magpie
<end>
Answer: <start>
a large white stork
<end>
Letters: A

Question: <start>
Which animal is on the roof? A. stork B. squirrel C. cat D. magpie
<end>
Answer: <start>
A ladder
<end>
Letters: Z

Question: <start>
Which tile is the mirror image of the first?
<end>
Answer: <start>
The tile on the left, marked "B", mirrors the first one.
<end>
Letters: B

Question: <start>
In which order do the tiles belong? Choose from A to D.
<end>
Answer: <start>
First A, then B, C and D.
<end>
Letters: ABCD

Question: <start>
{question}
<end>
Answer: <start>
{reply}
<end>
Letters:"""


def fill(template: str, **values: str) -> str:
    """The template with its holes filled in one pass: what looks like a hole in a value stays text."""
    return re.sub(r"\{(\w+)\}", lambda hole: values[hole[1]], template)
