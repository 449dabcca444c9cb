"""What MeCo asks of a video for each task of E.T. Bench: a description of what happens, not times.

Interface constants of MeCo (pangzss/MeCo), whose weights are trained to answer such sentences.
"""

from __future__ import annotations

_ACTIVITIES = (
    "Densely summarize the video by localizing clips that depict a series of major activity events and briefly "
    "describing each event. The event descriptions should "
)
OF_TASK = {
    "tvg": "Provide a detailed description of the clip.",
    "eca": "Provide a detailed description of the clip.",
    "epm": "Provide a detailed description of the clip and give the answer.",
    "tal": "Provide a concise description for each clip with action-centric temporal and spatial details.",
    "vhd": "Provide a detailed summary rich in important visual activities for the user to better understand the "
    "moment.",
    "tem": "Provide a detailed description of the moment.",
    "evs": "Summarize the video into a brief synopsis by focusing on the clips that contain the most important visual "
    "cues related to the topic.",
    "dvc": f"{_ACTIVITIES}start with action verbs.",
    "slc": "Localize a series of clips that contain the major steps in the video and briefly describe each clip.",
}
"""By the task's key."""
OF_SOURCE = {("dvc", "youcook2"): f"{_ACTIVITIES}be in an imperative form."}
"""Requests for a task's videos of one source, before those of the task."""
IN_MIND = "Watch the video carefully with the question {query} in mind and find the clip that contains the answer. "
GVQ = (
    f"{IN_MIND}Provide your analysis of the clip that supports your answer and finally provide the answer by choosing "
    "from the given options and end your response with 'Therefore, the answer is ...'. Here are the options:\n{options}"
)
