"""Answers as people, models and data files write them, read once for everything that compares.

stated.py        a reply -> the answer that it states, by the rule of training or by that of strict evaluation
ground_truth.py  a value of a data file -> a typed answer
numbers.py, units.py, letters.py, boxes.py    what an answer says: a number, options, boxes
markup.py        text without what says nothing about its value
literals.py      lists and objects that were written as text
"""
