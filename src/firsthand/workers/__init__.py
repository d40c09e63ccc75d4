"""Worker processes for what may hang, crash or eat memory: comparisons of expressions, and code of others.

pool.py           workers that are killed at a deadline
environments.py   the packages that draw questions and score answers, and their workers
zygote.py         the parent of a worker: imports once, forks children (a script)
maths.py          task: compare expressions; values.py computes them, exact.py what needs no process of its own
mathvision.py     task: compare MathVision's free answers as VLMEvalKit does
columnar.py       task: read Parquet files and Arrow streams, and validate them
limits.py         how much a task may take
user_function.py  task: call a function of a user's
reasoning_gym.py  task: draw questions of reasoning-gym, and score answers to them
"""
