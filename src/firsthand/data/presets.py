"""Published data sets and formats by name: values under those that a user gives, of a source or of a recipe's data.

Where no columns stand, the rows tell them: messages, or columns with names that are known; `fields` says otherwise.
docs/data.md has where each one's columns are from.
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

_VLAA: dict[str, dict[str, Any]] = {
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
"""Those of VLAA-Thinking (arXiv:2504.11468): kinds of answers are those of its figure 4; captions, side information and
origins those of its section 2 and its repository."""

_VQA: dict[str, dict[str, Any]] = {
    "aokvqa": {
        "fields": {"answer": "choices[correct_choice_idx]", "id": "question_id"},
        "kind": "choice",
        "origin": "HuggingFaceM4/A-OKVQA",
    },
    "ai2d": {"fields": {"answer": "options[answer]"}, "kind": "choice", "origin": "lmms-lab/ai2d"},
    "chartqa": {
        "fields": {"question": "query|question", "answer": "label.*|answer"},
        "otherwise": "text",
        "origin": "HuggingFaceM4/ChartQA",
    },
    # Every answer of these counts, or those that enough people gave.
    "docvqa": {
        "fields": {"answer": "answers", "id": "questionId"},
        "kind": "text",
        "origin": "https://www.docvqa.org",
    },
    "infographicvqa": {
        "fields": {"answer": "answers", "id": "questionId"},
        "kind": "text",
        "origin": "lmms-lab/DocVQA, InfographicVQA",
    },
    "gqa": {"fields": {"image": "image|{imageId}.jpg"}, "kind": "text", "origin": "lmms-lab/GQA"},
    "mmmu": {"fields": {"family": "subfield"}, "otherwise": "text", "license": "apache-2.0", "origin": "MMMU/MMMU"},
    "scienceqa": {
        # The hint is a part of the question, and the number of the answer counts from 0.
        "fields": {"question": "{hint}\n{question}", "answer": "choices[answer]", "trace": "solution"},
        "kind": "choice",
        "license": "cc-by-sa-4.0",
        "origin": "derek-thomas/ScienceQA",
    },
    "textvqa": {
        "fields": {"answer": "answers", "id": "question_id"},
        "kind": "text",
        "origin": "lmms-lab/textvqa",
    },
    "vqav2": {
        "fields": {"answer": "answers", "id": "question_id"},
        "kind": "text",
        "origin": "HuggingFaceM4/VQAv2",
    },
}
"""Visual questions as they lie on the Hugging Face hub."""

_TRAINERS: dict[str, dict[str, Any]] = {
    "verl": {"origin": "https://github.com/volcengine/verl"},
    "easyr1": {"origin": "https://github.com/hiyouga/EasyR1"},
    "r1v": {"origin": "https://github.com/Deep-Agent/R1-V"},
    "vlm-r1": {"origin": "https://github.com/om-ai-lab/VLM-R1"},
    "ms-swift": {"origin": "https://github.com/modelscope/ms-swift"},
    "llama-factory": {"origin": "https://github.com/hiyouga/LLaMA-Factory"},
}
"""Other trainers' files, which their columns tell: the name adds where they are from."""

SOURCE_PRESETS: dict[str, dict[str, Any]] = {**_VLAA, **_VQA, **_TRAINERS}
