"""The command line: a thin shell over the rooms. Nothing heavy is imported before a command needs it.

main.py        errors -> exit status
parser.py      the commands and their options
training.py, evaluating.py, data.py    what they do
console.py, terminal/    what a terminal shows; doctor.py: what this machine has
"""
