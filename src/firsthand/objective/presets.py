"""Method names, and what each stands for: a function, its settings, and its paper's values.

register("toy", toy)                      # a new method: one function and this line
register("toy", toy, ToySettings)         # with settings of its own

A user's own needs no name: `objective: module:function` is one (own.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from firsthand.config import build, merge
from firsthand.errors import RecipeError
from firsthand.identity import source_id
from firsthand.objective import covariance, methods, variants, vision
from firsthand.objective.covariance import ClipCov, KLCov
from firsthand.objective.methods import CHORD, CISPO, GRPO, LUFFY, OPD, SFT, SRFT, Method
from firsthand.objective.own import Terms, imported_source, own_method, own_terms
from firsthand.objective.table import Table, Totals
from firsthand.objective.variants import GMPO, HPT, NSR, SAPO
from firsthand.objective.vision import PAPO, NoisyRollout


@dataclass(frozen=True)
class Preset:
    """A method by name. What a user says goes over `objective`, and a recipe's own keys over `recipe`."""

    terms: Terms
    settings: type[Method]
    """What a recipe may set of it."""
    objective: Mapping[str, Any]
    """Defaults of its settings where its paper's differ from those of the class."""
    recipe: Mapping[str, Any]
    """Defaults that its paper has for the rest of the recipe, such as the sampling temperature."""


PRESETS: dict[str, Preset] = {}
OURS = tuple(module.__name__ for module in (covariance, methods, variants, vision))
"""Modules whose source is this package's version, and in no run's id."""


def register(
    kind: str,
    terms: Terms,
    settings: type[Method] = GRPO,
    objective: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Give a method a name that recipes can say, and its paper's defaults; see `Preset`.

    Raises ValueError when the name is taken.
    """
    if kind in PRESETS:
        raise ValueError(f"the method {kind!r} is registered already; choose another name")
    PRESETS[kind] = Preset(terms, settings, objective or {}, recipe or {})


def preset_of(kind: Any) -> Preset:
    """A method by its name, or a user's own at `module:function`. Raises RecipeError."""
    if isinstance(kind, str) and ":" in kind:
        return Preset(*own_method(kind), {}, {})
    if not isinstance(kind, str) or kind not in PRESETS:
        known = f"known: {', '.join(PRESETS)}, and your own as module:function"
        raise RecipeError(f"objective.kind: unknown method {kind!r}; {known}")
    return PRESETS[kind]


def terms_of(table: Table, totals: Totals, method: Method) -> dict[str, Tensor]:
    """The terms of a method on some replies. Raises RecipeError where a user's own gives none."""
    return own_terms(table, totals, method) if ":" in method.kind else PRESETS[method.kind].terms(table, totals, method)


def method_id(method: Method) -> str | None:
    """16 hex digits for the source of a user's own method; None for one that is ours."""
    if ":" in method.kind:
        return imported_source(method.kind)
    terms = PRESETS[method.kind].terms
    return None if terms.__module__ in OURS else source_id(terms)


def parse(content: Any) -> Method:
    """Settings from a recipe's `objective`: the method's name alone, or a mapping with `kind`. Raises RecipeError."""
    if isinstance(content, Method):
        return content
    content = {"kind": content} if isinstance(content, str) else content
    if not isinstance(content, Mapping):
        raise RecipeError(f"objective: expected a method's name or a mapping with `kind`, got {content!r}")
    kind = content.get("kind", "grpo")
    preset = preset_of(kind)
    return build(preset.settings, {**merge(preset.objective, content), "kind": kind}, "objective")


Objective = Annotated[SerializeAsAny[Method], BeforeValidator(parse)]
"""A method with its settings, as a recipe holds it."""

register("sft", methods.sft, SFT)
register("dft", methods.sft, SFT, {"dft": True})
register("grpo", methods.grpo, GRPO)
register(
    "grpo-d",  # OThink-MR1, arXiv:2503.16081: accuracy + alpha * format, alpha = 1
    methods.grpo,
    GRPO,
    {"kl": {"kind": "grpo-d"}},
    {"reward": {"format": 1.0}},
)
register(
    # VLAA-Thinking, arXiv:2504.11468, table 6; batches of 512 prompts of 4 in parts of 256. The floor is 5e-7 of a peak
    # of 1e-6, which is ours; the betas are those of OpenRLHF, which it adapted.
    "vlaa-grpo",
    methods.grpo,
    GRPO,
    {"group_size": 4, "kl": {"kind": "adaptive"}},
    {
        "sampling": {"temperature": 0.8},
        "minibatches": 8,
        "optimizer": {"warmup": 0.03, "floor": 0.5, "betas": (0.9, 0.95)},
    },
)
register(
    # arXiv:2503.14476, section 4.1; the interval is a fifth of the longest reply there (4,096 of 20,480).
    "dapo",
    methods.grpo,
    GRPO,
    {"group_size": 16, "clip_high": 0.28, "loss_agg_mode": "token-mean", "zero_variance": "resample"},
    {
        "reward": {"overlong": 0.2, "truncated": "mask"},
        "minibatches": 16,
        "optimizer": {"weight_decay": 0.1, "floor": 1.0},
    },
)
register(
    "dr-grpo", methods.grpo, GRPO, {"scale": "none", "loss_agg_mode": "seq-mean-token-sum-norm"}
)  # arXiv:2503.20783
register(
    "gspo",  # arXiv:2507.18071, section 5.1
    methods.grpo,
    GRPO,
    {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    {"minibatches": 4},
)
register(
    # MiniMax-M1, arXiv:2506.13585, section 3: 16 rounds of off-policy updates, its AdamW, DAPO's dynamic sampling and
    # length penalty.
    "cispo",
    methods.cispo,
    CISPO,
    {"zero_variance": "resample"},
    {"reward": {"overlong": 0.2}, "minibatches": 16, "optimizer": {"betas": (0.9, 0.95)}},
)
register("opd", methods.opd, OPD)
register(
    "luffy",  # its script: batches of 128 in parts of 64, a constant rate, the weight decay of its framework
    methods.luffy,
    LUFFY,
    recipe={"minibatches": 2, "optimizer": {"warmup": 0.0, "floor": 1.0, "weight_decay": 0.01}},
)
register("srft", methods.srft, SRFT, recipe={"optimizer": {"warmup": 0.0, "floor": 1.0}})
register("chord", methods.chord, CHORD)
register(
    "chord-phi",  # a fixed mu, and p(1 - p) on each demonstration token
    methods.chord,
    CHORD,
    {"mu_peak": 0.1, "mu_valley": 0.1, "mu_decay_steps": 0, "phi": True},
)
register("rloo", methods.grpo, GRPO, {"scale": "loo", "ratio": "reply"})  # arXiv:2402.14740
register(
    # arXiv:2501.03262, with a baseline; the KL is OpenRLHF's example's, and so are the 8 parts of a batch.
    "reinforce++",
    methods.grpo,
    GRPO,
    {"scale": "batch", "loss_agg_mode": "token-mean", "kl": {"kind": "constant", "beta": 1e-3, "estimator": "k2"}},
    {"minibatches": 8},
)
register("gmpo", variants.gmpo, GMPO, recipe={"minibatches": 4})  # the parts are ours: in one, no ratio acts
register("sapo", variants.sapo, SAPO, recipe={"minibatches": 4})  # arXiv:2511.20347; as gmpo
register("nsr", variants.nsr, NSR)
register(
    # Its script: no deviation, no clip; batches of 128 in parts of 64, a constant rate, gradients up to a norm of 80.
    "hpt",
    variants.hpt,
    HPT,
    {"scale": "none", "loss_agg_mode": "token-mean", "clip_low": None, "clip_high": None},
    {"minibatches": 2, "optimizer": {"warmup": 0.0, "floor": 1.0, "max_grad_norm": 80.0}},
)
register(
    # Its 3B model, table 6; batches of 384 in parts of 128, a constant rate, gradients and replies as in its script.
    "papo",
    vision.papo,
    PAPO,
    {"group_size": 5, "clip_high": 0.3, "kl": {"kind": "constant", "beta": 0.01}, "loss_agg_mode": "token-mean"},
    {"minibatches": 3, "optimizer": {"warmup": 0.0, "floor": 1.0, "weight_decay": 0.01}},
)
register(
    # Its script: batches of 512 prompts in parts of 128, a constant rate, and the weight decay of its framework.
    "noisy-rollout",
    methods.grpo,
    NoisyRollout,
    {"loss_agg_mode": "token-mean"},
    {"minibatches": 4, "optimizer": {"warmup": 0.0, "floor": 1.0, "weight_decay": 0.01}},
)
COVARIANCE = {"minibatches": 8, "optimizer": {"warmup": 0.0, "floor": 1.0}}
"""arXiv:2505.22617, its script for 7B: batches of 256 prompts in parts of 32, a constant rate."""
register("clip-cov", covariance.clip_cov, ClipCov, {"zero_variance": "resample"}, COVARIANCE)
register("kl-cov", covariance.kl_cov, KLCov, {"zero_variance": "resample"}, COVARIANCE)
register("pass-at-k", methods.grpo, GRPO, {"pass_k": 4})  # arXiv:2508.10751
