"""What came of the claims, drawn and written.

figures.py        a claim's figure: every seed a dot, the paired differences, the verdict
panels.py         the parts of it
paper_figures.py  the paper's own numbers, drawn by us
page.py           one page with all claims, our figure beside the paper's
"""

from .figures import claim_figure, write_figures
from .page import write_page

__all__ = ["claim_figure", "write_figures", "write_page"]
