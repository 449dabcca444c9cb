"""What the toy backbone learns, and from what; ``pretrain_toy`` runs it.

``backbone.py`` is the model. ``tokenizers.py`` and ``reading.py`` are words and stories for its language model, taught
by ``language.py``; ``pictures.py`` and ``lines.py`` are frames and captions for its vision side, taught by
``vision.py``.
"""
