"""E.T. Bench (Liu et al., 2024, arXiv 2409.18111): what its twelve tasks ask of an answer, and how they are scored.

``records`` reads questions and answers; ``windows_text``, ``captions_text`` and ``options`` find windows, captions and
options in texts; ``grounding``, ``choosing`` and ``captioning`` are the arithmetic of the tasks; ``table`` averages.
The specification is the official evaluation script (``PolyU-ChenLab/ETBench``, ``compute_metrics.py``) and MeCo's
variant of it (``pangzss/MeCo``), which finds windows from structural tokens instead of texts.
"""
