"""Answers as people, models and data files write them, read once for everybody who compares.

stated.py        the answer in a reply, and text without what says nothing about its value
numbers.py, units.py     numbers, read exactly
letters.py, boxes.py      options and boxes
ground_truth.py  values of data files -> typed answers
"""
