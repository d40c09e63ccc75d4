"""The six sets of the Open LMM Reasoning Leaderboard, scored as VLMEvalKit scores them, its quirks included.

    scorer.py      what a scorer is: it asks, is answered, and returns a score; the list of quirks
    matching.py    which option a reply names, by rules
    mathvista.py, mathvision.py, mathverse.py, dynamath.py, wemath.py, logicvista.py     a scorer each
    prompts.py     what a judge is told
    judging.py     many replies at once

Facts are VLMEvalKit's of August 2026; benchmarks/vs_vlmevalkit.py compares both, item by item.
"""
