"""Checks and plots of predicted windows, for the notebooks that look at grounding results and at single predictions.

``checks`` pairs windows with their truth as ``lavis score`` does, ``distributions`` draws all queries of a file,
``timelines`` single ones, ``comparison`` two files; ``example`` makes small inputs. Drawing needs matplotlib (extra
``notebook``), which is imported on first use.
"""
