"""What is optimised: every method is a sum of named terms over one table of reply tokens.

table.py     the table, the denominators of a whole optimizer step, the means
pieces.py    group-relative advantages, clipped ratios, divergences, weights of tokens
kl.py        controllers that move the KL weight
divergence.py  the KL term: what is averaged, in the loss or as a reward
methods.py   the methods: settings, and a pure function of at most 40 lines each
variants.py  more of them
vision.py    those that are about pictures
covariance.py  those that choose tokens by covariance
presets.py   method names and their papers' values
own.py       methods of a user's own, at `module:function`
"""

from firsthand.objective.kl import Controller, Seen
from firsthand.objective.methods import CHORD, CISPO, GRPO, LUFFY, OPD, SFT, SRFT, Imitating, Method, Mixed, Sampled
from firsthand.objective.pieces import group_advantage
from firsthand.objective.presets import PRESETS, Objective, Preset, method_id, parse, preset_of, register, terms_of
from firsthand.objective.table import Count, Table, Totals

__all__ = [
    "CHORD",
    "CISPO",
    "GRPO",
    "LUFFY",
    "OPD",
    "PRESETS",
    "SFT",
    "SRFT",
    "Controller",
    "Count",
    "Imitating",
    "Method",
    "Mixed",
    "Objective",
    "Preset",
    "Sampled",
    "Seen",
    "Table",
    "Totals",
    "group_advantage",
    "method_id",
    "parse",
    "preset_of",
    "register",
    "terms_of",
]
