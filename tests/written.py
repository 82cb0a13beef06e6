"""Tables of studies as ``table.md`` has them, from records made by hand."""

from minicereb.report.page import write_blocks
from minicereb.studies.results import Results


def written(table, pairs):
    return write_blocks(table(Results(pairs)))
