"""Windows against windows: overlap, recall, precision, highlights, and the forms in which windows are written."""
