"""What an answer says in mathematics.

objects.py      a text -> the kind of object that it is, and its parts: the reader that the others make up
forms.py        those objects, as they are compared
expressions.py  notation -> a tree, of tokens.py; notation.py puts LaTeX and plain text into few spellings first
relations.py, quantities.py, naming.py, sentences.py    one kind of text each
"""
