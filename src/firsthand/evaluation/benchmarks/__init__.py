"""Published benchmarks: one YAML file each in definitions/, read, asked, scored and aggregated.

spec.py        what a benchmark is
files.py       where its rows are; items.py: rows -> examples, every one checked
strict.py      judged by rules alone: no judge, no guess
aggregate.py   scores -> a benchmark's number, over questions
evaluate.py    a benchmark evaluated: both scores; suite.py: several of them, and seeds
export.py      replies as other tools want them
"""
