"""Which frames of a video are looked at.

A sampler turns what is known of a video into frame numbers. ``fps`` goes by true times; the others, and the options
that say so, bring back how an original counts, because published weights were trained with the frames it chose.
"""

from lavis.processors.samplers.base import Edges, Sampler, frame_range, key_frames
from lavis.processors.samplers.intervals import (
    Head,
    HeadTail,
    InnerRandom,
    IntervalSampler,
    Middle,
    RandomInInterval,
    Uniform,
)
from lavis.processors.samplers.rates import AccumulatedTime, FixedRate, to_frame_time
from lavis.processors.samplers.segments import Segments
from lavis.processors.samplers.windows import WindowChoice, coarse_option, frame_number

__all__ = [
    "AccumulatedTime",
    "Edges",
    "FixedRate",
    "Head",
    "HeadTail",
    "InnerRandom",
    "IntervalSampler",
    "Middle",
    "RandomInInterval",
    "Sampler",
    "Segments",
    "Uniform",
    "WindowChoice",
    "coarse_option",
    "frame_number",
    "frame_range",
    "key_frames",
    "to_frame_time",
]
