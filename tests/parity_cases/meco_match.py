"""E.T. Chat's match tokens against recorded texts: what stands in place of ``<vid>``, and which positions that are.

Recorded ids with the frame matched at each (``data/detokenize.json``), and answers of recorded models, whose matched
frames are found from their similarities. Texts, positions and frames must be equal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.models.codecs.match_tokens import MatchTokens, substituted
from lavis.structures import ModelOutput, VideoSample
from tests.parity_cases._meco_models import config_of, tokenizer_of

SYSTEM = "meco"
TOLERANCE = 0.0
TEMPLATES = {"out": "{}", "out_template": "{}s"}

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    recorded = golden / "data" / "detokenize.json"
    if recorded.is_file():
        for number, own in enumerate(json.loads(recorded.read_text())):
            yield f"data/detokenize {number}", lambda own=own: _detokenized(golden, own)
    for folder in sorted(path.parent for path in golden.glob("models/*/meta.json")):
        runs = json.loads((folder / "meta.json").read_text()).get("generate", {})
        for run, own in runs.items():
            if (folder / "generate.npz").is_file() and isinstance(own, Mapping) and "match_inds" in own:
                yield f"models/{folder.name} {run} matches", lambda f=folder, r=run, o=own: _answered(golden, f, r, o)


def _detokenized(golden: Path, recorded: Mapping[str, Any]) -> float:
    """The file does not name its tokenizer: that of some recorded model must give its texts."""
    kinds = sorted(path for path in (golden / "tokenizers").iterdir() if path.is_dir())
    faults = [fault for kind in kinds if (fault := _fault(kind, recorded)) is not None]
    if len(faults) == len(kinds):
        raise AssertionError("; ".join(faults))
    return 0.0


def _fault(kind: Path, recorded: Mapping[str, Any]) -> str | None:
    tokenizer = _tokenizer(kind)
    match = tokenizer.get_vocab()["<vid>"]
    ids, frames = recorded["ids"], recorded["tgt"]
    text = tokenizer.decode(ids)
    places = [place for place, token in enumerate(ids) if token == match]
    if places != recorded["match_inds"]:
        return f"{kind.name}: match tokens at {places}, recorded at {recorded['match_inds']}"
    for name, template in TEMPLATES.items():
        found = substituted(text, ids, frames, match, template)
        if found != recorded[name]:
            return f"{kind.name}: {found!r} instead of {recorded[name]!r}"
        # Frames at one a second, as the model hands them over, give the same.
        shares = torch.nn.functional.one_hot(torch.tensor(frames), max(frames) + 1).float()
        codec = MatchTokens(time_template=template)
        codec.bind(tokenizer)
        output = ModelOutput(text, ids, hidden={"similarities": shares, "frames": torch.tensor(frames)})
        told = codec.decode(output, VideoSample("said", "video.mp4", "", float(max(frames) + 1))).text
        if told != recorded[name]:
            return f"{kind.name}: decode says {told!r} instead of {recorded[name]!r}"
    return None


def _answered(golden: Path, folder: Path, run: str, recorded: Mapping[str, Any]) -> float:
    with np.load(folder / "generate.npz") as stored:
        ids, shares = stored[f"{run}_tokens"].tolist(), torch.from_numpy(stored[f"{run}_sim"])
    tokenizer = _tokenizer(Path(tokenizer_of(golden, folder)))
    match = tokenizer.get_vocab()["<vid>"]
    assert match == config_of(folder).get("match_token_id", match), f"<vid> is {match}"
    frames = shares.argmax(dim=1)
    assert frames.tolist() == recorded["tgt"], f"frames {frames.tolist()} instead of {recorded['tgt']}"
    codec = MatchTokens()
    codec.bind(tokenizer)
    sample = VideoSample("asked", "video.mp4", recorded["query"], float(shares.shape[1]))
    hidden = {"similarities": shares, "frames": frames}
    found = codec.decode(ModelOutput(tokenizer.decode(ids), ids, hidden=hidden), sample)
    assert found.text == recorded["response"], f"{found.text!r} instead of {recorded['response']!r}"
    assert found.details["match_inds"] == recorded["match_inds"], f"{found.details['match_inds']}"
    told = [recorded["tgt"][place] for place in recorded["match_inds"]]
    assert found.details["frames"] == found.details["times"] == told, f"{found.details['frames']} instead of {told}"
    assert all(math.isclose(sum(row), 1, abs_tol=1e-5) for row in found.details["similarities"])
    return 0.0


@cache
def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<vid>"]}, replace_extra_special_tokens=False)
    return tokenizer
