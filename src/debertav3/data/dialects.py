"""How tables of text are written: what stands between the columns, and what quotes mean."""

import csv
import re
from typing import Any, NamedTuple


class Dialect(NamedTuple):
    """One kind of table."""

    delimiters: str
    """What may stand between the columns; of several the one that the header has most."""
    quoting: Any
    """As the csv module calls it."""

    def delimiter_of(self, header: str) -> str:
        """The delimiter that stands most often in a header line outside quotes; the first if none does."""
        plain = re.sub(r'"[^"]*"', "", header)
        return max(self.delimiters, key=plain.count)


CSV = Dialect(",;\t|", csv.QUOTE_MINIMAL)
TSV = Dialect("\t", csv.QUOTE_NONE)
"""As the official files of GLUE: a quote is a character of the text, and fields are never quoted."""
