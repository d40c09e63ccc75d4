"""A user's own data: files -> Example, every row checked, nothing cut, and nothing dropped unless that is asked for.

`load_examples` refuses a file that has one bad row, or drops such rows where it is told to; `load_rows` gives both
apart; `stream_rows` gives every row of a `Source`, a bad one as a value, in flat memory.

    source.py, presets.py   what a source is; the published ones
    stream.py    a source -> examples and refused rows
    rows.py      a row, and what can be wrong with it
    loaded.py    the rows of a file that can be used, those that cannot, and the one error that tells
    difficulty.py   those that a model solves neither too seldom nor too often
    images.py    pictures: bounded, decoded once, by reference or by value
    foreign.py   what a file is that is no picture
    text.py      text: bounded, without control characters
    normalise.py   answers of published data without what stands around them (answers/ground_truth.py types them)
    fields.py    a map from our columns to others, and values inside values
    plain_columns.py   a row in the plain columns -> Example
    messages.py, columns.py, vlaa.py   a row of messages, under other names or of VLAA-Thinking's -> the plain columns
    formats.py   which of these a file and a row have
    jsonl.py, json_items.py, parquet.py, tables.py, folder.py   where rows come from
    store.py     Example <-> our own Parquet

No pickle is ever read, nothing is fetched, and no torch is imported. docs/data.md has the formats with examples.
"""

from firsthand.data.images import PictureLimits
from firsthand.data.load import load_examples, load_rows
from firsthand.data.loaded import Loaded, Refused
from firsthand.data.rows import REASONS
from firsthand.data.source import Source
from firsthand.data.store import read_examples, write_examples
from firsthand.data.stream import stream_rows
from firsthand.data.vlaa import write_vlaa

__all__ = [
    "REASONS",
    "Loaded",
    "PictureLimits",
    "Refused",
    "Source",
    "load_examples",
    "load_rows",
    "read_examples",
    "stream_rows",
    "write_examples",
    "write_vlaa",
]
