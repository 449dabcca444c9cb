"""Floor 3: from a video file to frames with their true times, and from files to subtitles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lavis.processors.registered import load_processor
    from lavis.processors.subtitles import read_srt, write_srt
    from lavis.processors.video_processor import VideoProcessor, build_processor

_HOMES = {
    "VideoProcessor": "video_processor",
    "build_processor": "video_processor",
    "load_processor": "registered",
    "read_srt": "subtitles",
    "write_srt": "subtitles",
}

__all__ = ["VideoProcessor", "build_processor", "load_processor", "read_srt", "write_srt"]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used: listing the registries needs none of them."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
