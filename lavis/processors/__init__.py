"""Floor 3: from a video file to frames with their true times, and from files to subtitles."""
