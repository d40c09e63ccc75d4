"""The evidence on one page: run directories -> one self-contained HTML file. Reads records only; never imports torch.

runs.py      a directory -> Run, whatever state it is in     charts.py    SVG
arms.py      runs of one recipe -> Arm, and comparisons      gallery.py   which replies are shown
headline.py  the sentences                                   pictures.py  images -> data URIs
curves.py    which measurements are drawn
page.py      all of it -> page.html.j2 with page.css and filter.js
"""

from firsthand.report.page import write_report

__all__ = ["write_report"]
