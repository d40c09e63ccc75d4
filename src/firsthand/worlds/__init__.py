"""Worlds: rendered visual tasks with exact answers, and the small VLM that ships with the package.

They are what runs with no download. Seven families give real data to every kind of reward:

    count     coloured shapes with occluders and distractors      digit
    digits    sums over real handwritten digits                   digit
    chart     bar charts and tables, four options                 choice
    geometry  figures with labelled lengths and angles            math
    compare   how many more objects of one colour than another  digit
    locate    where an object is                                  box
    describe  what is in the picture                              open

Every item is a pure function of (family, split, seed, index). Each has two difficulties, and a `shifted` variant with
what training never shows: unseen colour-shape pairs, more objects, another font.
"""

from firsthand.records import SPLITS, split_of
from firsthand.worlds.generate import SMALL, WORLDS, generate, picture_of, scene
from firsthand.worlds.world import Question, Scene, World

__all__ = ["SMALL", "SPLITS", "WORLDS", "Question", "Scene", "World", "generate", "picture_of", "scene", "split_of"]
