"""Decoding of MeCo and E.T. Chat against recorded tokens, logits and similarities, from the recorded prompt ids on.

Scripted answers (so that structural and match tokens occur) and free ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.schema import GenerationConfig
from lavis.models.heads.base import Head
from lavis.models.language_models.causal import Causal
from lavis.structures import Packed
from tests.parity_cases._meco_models import gap, load_parts, recorded_answers
from tests.parity_cases.meco_decoder import parts

SYSTEM = "meco"
TOLERANCE = 1e-4
PLACEHOLDER = -200

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for recorded, run in recorded_answers(golden):
        yield f"models/{recorded.parent.name} {run}", _comparison(golden, recorded, run)
    for recorded in sorted(golden.glob("*/prefill_sim.npz")):
        yield f"{recorded.parent.name}/prefill_sim", _prefill(golden, recorded)


def _comparison(golden: Path, recorded: Path, run: str) -> Callable[[], float]:
    def compare() -> float:
        arrays = _arrays(recorded)
        meta = json.loads((recorded.parent / "meta.json").read_text())["generate"]
        known = meta.get(run, {})
        query, src = known.get("query", meta.get("query")), known.get("src") or []
        prompt = arrays.get(f"{run.rsplit('_', 1)[0]}_input_ids", arrays.get("input_ids"))
        assert prompt is not None
        decoder, head = parts(golden, recorded.parent)
        decoder.eval(), head.eval()
        packed = _packed(golden, recorded.parent, decoder, prompt, arrays["video"], query, src)
        watcher = head.watch(decoder.token_ids(["<vid>"]))
        expected = arrays[f"{run}_tokens"].tolist()
        forced = run.endswith("forced")
        tokens, logits = _decode(decoder, watcher, packed, len(expected), expected if forced else None)
        if tokens != expected:
            raise AssertionError(f"tokens {tokens} where {expected} were recorded")
        worst = gap(logits, arrays[f"{run}_logits"])
        own = watcher.results([len(expected) - 1])[0]
        worst = max(worst, gap(own["similarities"], arrays[f"{run}_sim"]))
        recorded_frames = arrays.get(f"{run}_tgt", torch.tensor(known.get("tgt") or []))
        if len(recorded_frames) and own["frames"].tolist() != recorded_frames.tolist():
            raise AssertionError(f"frames {own['frames'].tolist()} where {recorded_frames.tolist()} were recorded")
        if not forced:
            worst = max(worst, _generated(decoder, head, packed, expected))
        return worst

    return compare


def _decode(
    decoder: Causal, watcher: Any, packed: Packed, count: int, script: list[int] | None
) -> tuple[list[int], Tensor]:
    """Ids and raw logits of ``count`` steps; what is fed follows the script, if there is one."""
    with torch.no_grad():
        state, logits = decoder.prefill(packed, watcher.taps)
        watcher.begin(packed, state.states)
        tokens, seen = [], [logits]
        for i in range(count):
            token = logits.argmax(dim=-1) if script is None else torch.tensor([script[i]])
            tokens.append(int(token))
            if i + 1 == count:
                break
            logits = decoder.step(state, watcher.fed(token, decoder.embed(token[:, None])))
            watcher.step(state.states)
            seen.append(logits)
    return tokens, torch.cat(seen)


def _generated(decoder: Causal, head: Head, packed: Packed, expected: list[int]) -> float:
    """The decode loop in use gives the same ids, up to an end token."""
    watcher = head.watch(decoder.token_ids(["<vid>"]))
    output = decoder.generate(packed, GenerationConfig(num_beams=1, max_new_tokens=len(expected)), watcher)[0]
    eos = decoder.tokenizer.eos_token_id
    ended = expected[: expected.index(eos)] if eos in expected else expected
    if output.token_ids != ended:
        raise AssertionError(f"generate says {output.token_ids} where {ended} were recorded")
    return 0.0


def _packed(
    golden: Path, folder: Path, decoder: Causal, prompt: Tensor, video: Tensor, query: str, src: list[float]
) -> Packed:
    """The recorded prompt, its placeholder replaced by the frames."""
    encoder, compressor = load_parts(golden, folder)
    with torch.no_grad():
        features = encoder.finish(encoder.run_backbone(video))
        frames = compressor.read(features, [query], [])[0]
        ids = prompt[0]
        at = int((ids == PLACEHOLDER).nonzero()[0])
        words = decoder.embed(ids.clamp(min=0))
        match = decoder.token_ids(["<vid>"])["<vid>"]
        for place, seconds in zip((ids == match).nonzero()[:, 0].tolist(), src, strict=True):
            words[place] += frames[min(max(round(seconds), 0), len(frames) - 1)]
        embeds = torch.cat([words[:at], frames, words[at + 1 :]])[None]
    units = [torch.tensor([(p, p + 1) for p in range(at, at + len(frames))])]
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    return Packed(embeds, mask, mask, None, None, [embeds.shape[1]], units, [[]])


def _prefill(golden: Path, recorded: Path) -> Callable[[], float]:
    def compare() -> float:
        arrays = _arrays(recorded)
        folder = golden / "models" / "meco_phi3"
        decoder, head = parts(golden, folder)
        decoder.eval(), head.eval()
        runs = _arrays(folder / "generate.npz")
        query = json.loads((folder / "meta.json").read_text())["generate"]["query"]
        packed = _packed(golden, folder, decoder, runs["input_ids"], runs["video"], query, [])
        worst = 0.0
        for prefill in ("first", "last"):
            head.prefill = prefill  # type: ignore[assignment]
            watcher: Any = head.watch({})
            with torch.no_grad():
                state, _ = decoder.prefill(packed, watcher.taps)
                watcher.begin(packed, state.states)
            worst = max(worst, gap(watcher.seen[0][0], arrays[f"sim_{prefill}_prompt_token"]))
        frames = torch.nn.functional.normalize(watcher.frames[0], dim=-1)
        return max(worst, gap(frames, arrays["frame_tokens"]))

    return compare


def _arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}
