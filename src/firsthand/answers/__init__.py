"""Answers as people, models and data files write them, read once for everything that compares.

stated.py        a reply -> the answer that it states, by the rule of training or by that of strict evaluation
ground_truth.py  a value of a data file -> a typed answer; options.py and true_boxes.py read what stands beside it
numbers.py, units.py, letters.py, text.py, boxes.py    what an answer says: a number, options, words, boxes
maths/           what an answer says in mathematics
wording.py       words that announce an answer, doubt it or take it back: one vocabulary for all of these
markup.py        text without what says nothing about its value
spelling.py      different spellings of one text
literals.py      lists and objects that were written as text
"""
