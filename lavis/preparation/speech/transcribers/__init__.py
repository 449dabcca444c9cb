"""Programs that write down what is said: one file each, under its own name; ``base.py`` says what they offer."""
