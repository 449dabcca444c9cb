"""Long jobs over many files, all through one executor (``run.py``): resumable, with a quarantine, on any number of
machines.

``metadata.py`` (what each video is), ``compress.py`` (smaller copies) and ``check.py`` (what is there, against what is
annotated) are the tools; ``process_data`` has a script for each.
"""
