"""MeCo's structural tokens: from similarities with frames to windows."""
