"""QVHighlights' own release: JSON lines with windows and highlight scores.

Source: *Detecting Moments and Highlights in Videos via Natural Language Queries* (jayleicn/moment_detr), files
``highlight_{train,val,test}_release.jsonl``; the test split has no truth. Ids are given CALCE's form
(``QVHighlight_2579``), so that predictions and items of both fit.
"""

from __future__ import annotations

from lavis.common.registry import registry
from lavis.datasets.formats._release_rows import ReleaseRows


@registry.formats.register("qvhighlights")
class QVHighlights(ReleaseRows):
    """Rows of the release; ``VideoSample.saliency`` has an entry for every 2-second clip of the video.

    Args:
        items, on_bad_window, beyond_end, on_unknown_field: see ``ReleaseRows``.
    """

    id_prefix = "QVHighlight_"
