"""Where each data set comes from: the table of docs/data.md, beside the layouts that it is read in.

Sizes and licences are those that a repository, a card on the Hugging Face hub or a page states, as the row says;
what was not found there is called not stated, and not filled in from memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from lavis.common.layouts import LAYOUTS

NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set.

    Args:
        name: for people.
        get: where annotations and videos are.
        size: of what is downloaded.
        licence: of the annotations, and what it was read from.
        folder: below ``LAVIS_DATA``, in our layout.
        configs: data sets of ``configs/datasets`` that read it; the first is the one to check.
        prepare: what is run between download and use, after ``python process_data/``; for each ``<name>`` of a folder.
    """

    name: str
    get: str
    size: str
    licence: str
    folder: str
    configs: tuple[str, ...]
    prepare: tuple[str, ...] = ()

    @property
    def layouts(self) -> list[str]:
        """Layouts of other projects that hold it."""
        return [name for name, layout in LAYOUTS.items() if set(layout.sets) & set(self.configs)]

    @property
    def commands(self) -> list[str]:
        """What to run, in order."""
        return [f"python process_data/{each}" for each in (*self.prepare, f"check_data.py {self.configs[0]}")]


_NO_FILE = "no licence file in the repository"

SOURCES: tuple[DataSource, ...] = (
    DataSource(
        "QVHighlights",
        "`jayleicn/moment_detr`, folder `data`; videos: `qvhilights_videos.tar.gz`, linked there; nouns, CALCE's form "
        "and subtitles: `tjhd1475/CALCE`",
        "annotations 5 MB; videos not stated",
        "CC BY-NC-SA 4.0 (`data/LICENSE`)",
        "qvhighlights",
        ("qvhighlights", "calce/qvhighlights", "mr_blip/qvhighlights", "mr_blip/qvhighlights_questions",
         "mmduet/qvhighlights"),
        ("data_preprocess.py qvhighlights",),
    ),
    DataSource(
        "Charades-STA",
        "`jiyanggao/TALL`, links of its README; lengths and videos: *Charades* at the Allen Institute for AI",
        NOT_STATED,
        f"Charades-STA: {_NO_FILE}; *Charades*: its own `license.txt`",
        "charades",
        ("charades_sta", "calce/charades_sta", "mr_blip/charades_sta", "hawkeye/charades_sta", "mmduet/charades_sta"),
        ("data_preprocess.py charades",),
    ),
    DataSource(
        "ActivityNet Captions",
        "the authors' page *Dense-Captioning Events in Videos*; videos: *ActivityNet* 1.3",
        "20,000 videos, 849 hours; bytes not stated",
        NOT_STATED,
        "activitynet",
        ("activitynet_captions", "activitynet_dense_captions", "mr_blip/activitynet_captions",
         "mr_blip/activitynet_actions", "hawkeye/activitynet_captions"),
    ),
    DataSource(
        "TACoS",
        "`microsoft/VideoX`, folder `2D-TAN/data/TACoS`; videos: *MPII Cooking 2*, `MPII-Cooking-2-videos.tar.gz`",
        NOT_STATED,
        "2D-TAN: MIT (`LICENSE`); TACoS: not stated there",
        "tacos",
        ("tacos", "mr_blip/tacos"),
    ),
    DataSource(
        "NExT-QA",
        "`doc-doc/NExT-QA`, with a link to the videos",
        "videos 23 GB (a user of HawkEye)",
        "repository: MIT (`LICENSE`)",
        "nextqa",
        ("nextqa", "mr_blip/nextqa", "hawkeye/nextqa"),
        ("videos_metadata.py data/nextqa/videos",),
    ),
    DataSource(
        "NExT-GQA",
        "`doc-doc/NExT-GQA`; the videos of NExT-QA",
        "see NExT-QA",
        "repository: MIT (`LICENSE`)",
        "nextgqa",
        ("nextgqa", "mr_blip/nextgqa", "hawkeye/nextgqa"),
    ),
    DataSource(
        "YouCook2",
        "the authors' page *YouCook2*; videos also at `OpenDataLab/YouCook2`; MMDuet's form: `wangyueqian/MMDuetIT`",
        NOT_STATED,
        "MMDuet's files: MIT (card); YouCook2: not stated there",
        "youcook2",
        ("youcook2", "mmduet/youcook2"),
    ),
    DataSource(
        "LLaVA-558K with WebVid",
        "`YanweiLi/LLaMA-VID-Data` on the Hugging Face hub; images: `liuhaotian/LLaVA-Pretrain`; videos: *WebVid*, "
        "links",
        "annotations 266 MB; others not stated",
        "CC BY-NC 4.0 (`DATA_LICENSE` of `dvlab-research/LLaMA-VID`)",
        "llamavid, llava_pretrain, webvid",
        ("llava_558k_webvid",),
        ("videos_metadata.py data/webvid/videos",),
    ),
    DataSource(
        "LLaVA-665K with Video-ChatGPT",
        "the same; images: as `haotian-liu/LLaVA` lists them; videos: *ActivityNet*, or Video-ChatGPT's own",
        "annotations 860 MB; others not stated",
        "CC BY-NC 4.0 (the same)",
        "llamavid, llava_instruct, video_chatgpt",
        ("llava_665k_video_chatgpt",),
        ("videos_metadata.py data/video_chatgpt",),
    ),
    DataSource(
        "E.T. Instruct 164K",
        "`PolyU-ChenLab/ET-Instruct-164K` on the Hugging Face hub; MeCo's file is not published, the command makes one",
        "annotations 85 + 82 MB, videos 250 GB (3 frames a second, 224 pixels)",
        "CC BY-NC-SA 4.0 (card)",
        "et_instruct_164k",
        ("et_instruct", "meco/et_instruct"),
        (
            "meco_annotations.py data/et_instruct_164k/et_instruct_164k_vid.json "
            "--out data/et_instruct_164k/et_instruct_164k_meco.json --on-bad-row skip",
        ),
    ),
    DataSource(
        "E.T. Bench",
        "`PolyU-ChenLab/ETBench` on the Hugging Face hub",
        "annotations 9 MB, videos 149 GB (251 h)",
        "CC BY-NC-SA 4.0 (card)",
        "etbench",
        ("et_bench", "meco/et_bench"),
    ),
    DataSource(
        "MMDuetIT, Shot2Story-MAGQA",
        "`wangyueqian/MMDuetIT` on the Hugging Face hub; videos: `mhan/shot2story-videos`, `WHB139426/coin`, and the "
        "pages of HiREST, DiDeMo and QueryD (README of MMDuet)",
        "annotations of DiDeMo 4 MB, QueryD 1 MB; others not stated",
        "MIT (card)",
        "shot2story, coin, didemo, hirest_grounding, queryd",
        ("mmduet/training", "mmduet/shot2story_magqa"),
        ("videos_metadata.py data/<name>/videos",),
    ),
    DataSource(
        "STAR",
        "`csbobby/STAR_Benchmark`, links of its README; the videos of *Charades*",
        "see Charades-STA",
        "repository: Apache 2.0 (`LICENSE`)",
        "star, charades",
        ("star", "hawkeye/star"),
        ("videos_metadata.py data/charades/videos",),
    ),
    DataSource(
        "TVQA",
        "the authors' page *TVQA*, frames at 3 a second; `jayleicn/TVQA`",
        NOT_STATED,
        "repository: MIT (`LICENSE`); frames: see the page",
        "tvqa",
        ("tvqa", "hawkeye/tvqa"),
    ),
    DataSource(
        "MVBench",
        "`OpenGVLab/MVBench` on the Hugging Face hub",
        NOT_STATED,
        "MIT (card)",
        "mvbench",
        ("mvbench", "mvbench_episodic_reasoning"),
        ("videos_metadata.py data/mvbench/video",),
    ),
    DataSource(
        "Video-MME",
        "`MME-Benchmarks/Video-MME`; videos: `lmms-lab/Video-MME` on the Hugging Face hub",
        "four archives, 101 GB",
        "none on the card",
        "video_mme",
        ("video_mme",),
        ("videos_metadata.py data/video_mme/videos",),
    ),
    DataSource(
        "HawkEye-IT, VideoChat2-IT",
        "`wangyueqian/HawkEye-IT`, `OpenGVLab/VideoChat2-IT` on the Hugging Face hub; each video set's own page",
        "videos: CLEVRER 25 GB, TGIF 71 GB, NExT-QA 23 GB, TextVR 115 GB (a user of HawkEye); others not stated",
        "MIT (card of HawkEye-IT)",
        "hawkeye_it",
        ("hawkeye/hawkeye_it",),
        ("videos_metadata.py data/hawkeye_it/videos/<name>",),
    ),
    DataSource(
        "Grounded-VideoLLM",
        "`WHB139426/Grounded-VideoLLM` on the Hugging Face hub, by the scripts `download_data_stage{1,2,3}.sh` of "
        "`WHB139426/Grounded-Video-LLM`",
        "50, 66 and 87 archives for the three stages; bytes not stated",
        "none on the card, " + _NO_FILE,
        "grounded_videollm",
        ("grounded_videollm/pretrain", "grounded_videollm/grounded", "grounded_videollm/sft"),
        ("videos_metadata.py data/grounded_videollm",),
    ),
    DataSource(
        "Grounded VideoQA",
        "the same, `G-VideoQA-gpt4o-mini-anno.json`; videos: *ActivityNet*, *QVHighlights*",
        NOT_STATED,
        "none on the card",
        "grounded_videoqa",
        ("grounded_videoqa",),
        ("videos_metadata.py data/grounded_videoqa/videos",),
    ),
)  # fmt: skip


def sources_table() -> str:
    """The table of docs/data.md, in Markdown."""
    columns = ("set", "where to get it", "size", "licence", "folder; layouts that hold it too", "commands")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for source in SOURCES:
        folders = ", ".join(f"`{name}/`" for name in source.folder.split(", "))
        fits = f"; {', '.join(source.layouts)}" if source.layouts else ""
        commands = "; ".join(f"`{command}`" for command in source.commands)
        cells = (source.name, source.get, source.size, source.licence, f"{folders}{fits}", commands)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def layouts_table() -> str:
    """Which folder of each project is used as it is, in Markdown."""
    lines = ["| layout | project | `LAVIS_DATA` is | data sets |", "|---|---|---|---|"]
    for name, layout in LAYOUTS.items():
        sets = ", ".join(f"`{each}`" for each in layout.sets)
        lines.append(f"| `{name}` | {layout.title} | {layout.folder} | {sets} |")
    return "\n".join(lines)
