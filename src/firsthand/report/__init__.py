"""The evidence on one page: run directories -> one self-contained HTML file. Reads records only; never imports torch.

runs.py       a directory -> its records, whatever state it is in
arms.py       runs of one recipe -> an arm of each table, and comparisons
scorers.py    a benchmark's numbers by its scorers
headline.py   the sentences
curves.py     which measurements are drawn; charts.py: SVG
browser.py    replies, tokens and pictures for the rollout browser (browser.js, browser.css); pieces.py: tokens -> text,
              tokens.py: what training changed of them; pictures.py: images -> data URIs
results.py    what the study found, from its results.json
panels.py     what an analysis hands to the page; analyses/ has them
page.py       all of it -> page.html.j2, its sections in parts/, with page.css
"""

from firsthand.report.page import write_report

__all__ = ["write_report"]
