"""A corpus of captioned segments with room around them, made of videos without annotations, as HawkEye made its own.

Steps, each a JSON lines file: scenes of each video (``scenes.py``), how alike they are (``similarity.py``), alike
neighbours merged (``merging.py``), a caption for each (``captions.py``), how well it fits (``scores.py``), the better
half of the captions (``selection.py``), and how far around its segment nothing alike is shown (``negatives.py``).
``pipeline.py`` does all of them. ``models.py`` says what models must offer, and has some.

Source: HawkEye (yellow-binary-tree/HawkEye), ``internvid_g``, the tools that made InternVid-G. Files have the form of
the original's, so either's can be read at every step. What differs is said in the module where it does, and can be
turned back by a named option.
"""
