"""NExT-QA's own release, multiple choice: tables with the index of the right option.

Source: *NExT-QA: Next Phase of Question-Answering to Explaining Temporal Actions* (doc-doc/NExT-QA), files
``{train,val,test}.csv`` and ``map_vid_vidorID.json``. MR.BLIP's rows made from them are read by ``mr_blip``, HawkEye's
by ``candidates``.
"""

from __future__ import annotations

from lavis.common.registry import registry
from lavis.datasets.formats._choices import index_of_option
from lavis.datasets.formats._next_tables import NUM_OPTIONS, SIZES, NextTable
from lavis.datasets.formats._record import Record
from lavis.datasets.formats._tables import digits


@registry.formats.register("nextqa")
class NextQA(NextTable):
    """Lines of ``<split>.csv``: the video in ``video``, the answer as an index; see ``NextTable``."""

    required = ("video", "question", "qid", "type", *(f"a{i}" for i in range(NUM_OPTIONS)))
    optional = ("answer", *SIZES)
    video_field = "video"

    def right(self, record: Record, options: list[str]) -> int:
        return index_of_option(record, "answer", digits(record, "answer"), options)
