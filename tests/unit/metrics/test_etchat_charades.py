"""E.T. Chat's figures on Charades-STA: two matched frames, or a window where there are no match tokens."""

from __future__ import annotations

from typing import Any

import pytest

from lavis.metrics.etchat_charades import EtchatCharades
from lavis.structures import Moment, Prediction, VideoSample


@pytest.mark.parametrize(
    ("details", "moments", "iou"),
    [
        ({"frames": [2, 7]}, [], 1.0),
        ({"frames": [7, 2]}, [Moment(2, 7)], 0.0),
        ({"frames": [2]}, [Moment(2, 7)], 0.0),
        ({"frames": [2, 7, 9]}, [Moment(2, 7)], 0.0),
        ({"frames": [2, None]}, [Moment(2, 7)], 0.0),
        ({}, [Moment(2, 7), Moment(0, 1)], 1.0),
        ({}, [], 0.0),
    ],
)
def test_two_frames_count(details: dict[str, Any], moments: list[Moment], iou: float) -> None:
    metric = EtchatCharades()
    sample = VideoSample("v_0", "videos/v.mp4", "it moves.", 12.0, [Moment(2, 7)])
    metric.update([sample], [Prediction("v_0", moments, details=details)])
    assert metric.compute() == {"R@0.3": iou, "R@0.5": iou, "R@0.7": iou, "mIoU": iou, "total": 1}
