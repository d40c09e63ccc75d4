"""The published data sets of VLAA-Thinking as sources: values under those that a user gives.

Kinds of answers are those of its figure 4, captions, side information and origins those of its section 2 and its
repository (arXiv:2504.11468). Columns are those of the origin's files. Where no columns stand, the file's format is
told by its rows: LLaVA's `conversations`, or columns with our names; `fields` says otherwise.
"""

from typing import Any

_ONEVISION = "lmms-lab/LLaVA-OneVision-Data"
_LLAVA_COT: dict[str, Any] = {
    "kind": "box",
    "license": "apache-2.0",
    "origin": "Xkev/LLaVA-CoT-100k",
    "normalise": True,
    # Its own reasoning is the demonstration: these rows were neither captioned nor distilled again.
    "caption": False,
    "distill": False,
}

SOURCE_PRESETS: dict[str, dict[str, Any]] = {
    "clevr_math": {
        "kind": "digit",
        "license": "apache-2.0",
        "origin": f"{_ONEVISION}, CLEVR-Math(MathV360K)",
        "normalise": True,
        # The list of objects that CLEVR's scenes were made from, in words.
        "side": "meta.rationale",
    },
    "geoqa170k": {
        "kind": "choice",
        "license": "apache-2.0",
        "origin": f"{_ONEVISION}, geo170k(qa)",
        "normalise": True,
        # Its captions kept inventing things, so its traces are not imitated.
        "part": "rl",
    },
    "math_puma_synthesis": {
        "kind": "math",
        "license": "gpl-3.0",
        "origin": "Math-PUMA/Math-PUMA_Data_Stage2, Synthesis",
        "normalise": True,
        # The question in words says all that the picture does.
        "caption": False,
        "side": "meta.text_question",
    },
    "arxivqa": {
        "fields": {"answer": "label"},
        "kind": "choice",
        "license": "cc-by-sa-4.0",
        "origin": "MMInstruction/ArxivQA",
        "normalise": True,
    },
    "docvqa": {
        "fields": {"answer": "answers.*", "id": "questionId"},
        "kind": "open",
        "origin": "https://www.docvqa.org",
    },
    "vizwiz": {
        "fields": {"answer": "answers.answer.*"},
        "kind": "open",
        "origin": "https://vizwiz.org/tasks-and-datasets/vqa/",
    },
    "allava_laion": {
        "kind": "open",
        "license": "apache-2.0",
        "origin": "FreedomIntelligence/ALLaVA-4V, allava_laion",
        # Its captions are in a file of their own; join them by `id` first.
        "caption": "caption",
    },
    "llava_cot_coco": {**_LLAVA_COT, "only": {"image": "coco/"}},
    "llava_cot_vg": {**_LLAVA_COT, "only": {"image": "vg/"}},
}
