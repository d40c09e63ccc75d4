"""Worker processes for what may hang, crash or eat memory: comparisons of expressions, and functions of a user's.

pool.py           workers that are killed at a deadline
zygote.py         the parent of a worker: imports once, forks children (a script)
maths.py          task: compare expressions; values.py computes them, exact.py what needs no process of its own
mathvision.py     task: compare MathVision's free answers as VLMEvalKit does
user_function.py  task: call a function of a user's
"""
