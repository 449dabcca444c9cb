"""From speech to captions: ``captions.py`` makes an ``.srt`` of every video of a collection.

``audio.py`` reads the sound, a ``transcribers`` entry writes down what is said, ``lines.py`` makes caption lines of it;
``quality.py`` and ``word_errors.py`` tell how good they are. ``process_data/extract_captions.py`` is the script.
"""
