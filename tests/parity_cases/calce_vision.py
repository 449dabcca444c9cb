"""The vision side of CALCE and MR.BLIP against recorded outputs: encoder, Q-Former, clustering, key frames, projection.

Everything is found by looking into the folder: file names, sizes and settings are read from it, none is listed here.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lavis.common.random import Draw, RecordedDraws
from lavis.layers.clustering import dpc_knn, num_centres
from lavis.models.compressors.base import QFormerCompressor, QFormerSettings
from lavis.models.compressors.keyframe_qformer import KeyframeQFormer
from lavis.models.compressors.qformer_frames import QFormerFrames
from lavis.models.encoders.eva_vit import EvaVit
from lavis.models.keyframes import KeyframeSettings, dilate, fit_budget, is_about_talking
from lavis.structures import FrameFeatures, Frames, Moment, TimedTokens, VideoSample

SYSTEM = "calce"
TOLERANCE = 1e-5

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    yield from _ctm_cases(golden / "unit" / "ctm.json")
    yield from _mask_cases(golden / "unit" / "masks.json")
    yield from _talk_cases(golden / "unit" / "talk.json")
    for model in sorted(golden.glob("*/model.json")):
        for tensors in sorted(model.parent.glob("*.safetensors")):
            described = tensors.with_suffix(".json")
            if described.is_file() and described != model:
                yield from _model_cases(model, described)


def _ctm_cases(path: Path) -> Iterator[Case]:
    for row in _json(path) or []:

        def compare(row: dict[str, Any] = row) -> float:
            tensors = _tensors(path)
            name = row["name"]
            x, mask = tensors[f"{name}.x"], tensors.get(f"{name}.mask")
            assert num_centres(row["sample_ratio"], x.shape[1]) == row["cluster_num"]
            labels = dpc_knn(x, row["sample_ratio"], tensors[f"{name}.noise"], mask, row["k"], mask_distance="batch")
            return _same(labels, tensors[f"{name}.idx_token"], "labels")

        yield f"unit/ctm {row['name']}", compare


def _mask_cases(path: Path) -> Iterator[Case]:
    recorded = _json(path) or {}
    for i, row in enumerate(recorded.get("two_side_bias_padding", [])):

        def padding(row: dict[str, Any] = row) -> float:
            return _same(dilate(_mask(row["mask"]), row["bias"]), _mask(row["out"]), "dilated")

        yield f"unit/masks dilate {i}", padding
    for i, row in enumerate(recorded.get("compress_mask", [])):

        def compress(row: dict[str, Any] = row) -> float:
            draws: list[Draw] = [
                int(value) if kind == "randint" else float(value) for kind, values in row["draws"] for value in values
            ]
            key, other = fit_budget(_mask(row["key"]), _mask(row["non_key"]), row["target"], RecordedDraws(draws))
            return max(
                _same(key, _mask(row["key_out"]), "key frames"), _same(other, _mask(row["non_key_out"]), "others")
            )

        yield f"unit/masks budget {i}", compress


def _talk_cases(path: Path) -> Iterator[Case]:
    recorded = _json(path) or {}
    for i, (query, expected) in enumerate(recorded.get("cases", [])):

        def talk(query: str = query, expected: bool = expected) -> float:
            found = is_about_talking(query, recorded["keywords"])
            assert found == expected, f"{query!r}: {found}, recorded {expected}"
            assert is_about_talking(query) == found, "the default keywords differ from the recorded ones"
            return 0.0

        yield f"unit/talk {i}", talk


def _model_cases(model: Path, described: Path) -> Iterator[Case]:
    name = f"{described.parent.name}/{described.stem}"
    recorded = _tensors(described)
    if "vision_embeds" in recorded or "frames_for_t5" in recorded:
        yield f"{name} features", lambda: _Run(model, described).features()
    if any(key.startswith("cluster") and key.endswith("_idx") for key in recorded):
        yield f"{name} clusters", lambda: _Run(model, described).clusters()
    if "frame_token_counts" in _json(described):
        yield f"{name} key frames", lambda: _Run(model, described).key_frames()
    if (_json(described) or {}).get("compress_mask_calls"):
        yield f"{name} budget", lambda: _Run(model, described).budget()


class _Run:
    """One recorded call: its inputs, and our parts with its weights."""

    def __init__(self, model: Path, described: Path) -> None:
        self.record = _json(described)
        self.recorded = _tensors(described)
        self.inputs = {**_tensors(described.parent / "main.safetensors"), **self.recorded}
        # Attributes set for a case override the configuration of its model.
        self.config = {**_json(model)["config"], **self.record["attrs"]}
        weights = _tensors(model)
        self.encoder, self.compressor = _encoder(self.config), _compressor(self.config, self.recorded)
        for part, prefixes in (
            (self.encoder, ("visual_encoder.", "ln_vision.")),
            (self.compressor, ("Qformer.", "query_tokens", "query_proj.", "t5_proj.")),
        ):
            part.load_state_dict({key: value for key, value in weights.items() if key.startswith(prefixes)})
            part.eval()

    @torch.no_grad()
    def features(self) -> float:
        encoded = self._encoded()
        hidden = torch.cat([reading.hidden for reading in self.compressor.read_frames(encoded)])
        worst = 0.0
        if "vision_embeds" in self.recorded:
            tokens = torch.cat([f.tokens for f in encoded])
            worst = max(worst, _close(tokens, self.recorded["vision_embeds"], "encoder tokens"))
        if "qformer_frames" in self.recorded:
            worst = max(worst, _close(hidden, self.recorded["qformer_frames"], "Q-Former output"))
        if "frames_for_t5" in self.recorded:
            tokens = torch.stack([t.tokens for t in self.compressor(encoded, self._samples())])
            worst = max(worst, _close(tokens, self.recorded["frames_for_t5"], "projected tokens"))
        return worst

    @torch.no_grad()
    def clusters(self) -> float:
        assert isinstance(self.compressor, KeyframeQFormer)
        encoded = self._encoded()
        readings = self.compressor.read_frames(encoded)
        features = self.compressor._frame_features(readings, torch.cat([reading.hidden for reading in readings]))
        noise = [draw for draw in self._draws() if isinstance(draw, Tensor)]
        worst, i = 0.0, 0
        while f"cluster{i}_idx" in self.recorded:
            mask = self.recorded.get(f"cluster{i}_mask")
            clusters = self.compressor.keyframes.num_clusters
            labels = dpc_knn(torch.stack(features), clusters, noise[i], mask, mask_distance="batch")
            worst = max(worst, _same(labels, self.recorded[f"cluster{i}_idx"], f"labels of clustering {i}"))
            i += 1
        return worst

    @torch.no_grad()
    def key_frames(self) -> float:
        result = self._compressed()
        for i, (tokens, counts) in enumerate(zip(result, self.record["frame_token_counts"], strict=True)):
            assert tokens.counts == counts, f"sample {i}: tokens per frame {tokens.counts}, recorded {counts}"
            shown = [self._times()[i][frame] for frame in tokens.frames]
            assert shown == self.record["timestamps_arg"][i], f"sample {i}: frames at {shown}"
            if "key_frame_idx" in self.record:
                full = self.compressor.num_queries
                keys = [frame for frame, count in zip(tokens.frames, tokens.counts, strict=True) if count == full]
                assert keys == self.record["key_frame_idx"][i], f"sample {i}: key frames {keys}"
        return 0.0

    def budget(self) -> float:
        """Each recorded call of the budget by itself, the draws shared as they were."""
        draws = RecordedDraws([draw for draw in self._draws() if not (isinstance(draw, Tensor) and draw.ndim == 2)])
        worst = 0.0
        for call in self.record["compress_mask_calls"]:
            key, other = fit_budget(_mask(call["key_in"]), _mask(call["non_key_in"]), call["target"], draws)
            worst = max(worst, _same(key, _mask(call["key_out"]), "key frames"))
            worst = max(worst, _same(other, _mask(call["non_key_out"]), "other frames"))
        return worst

    def _encoded(self) -> list[FrameFeatures]:
        frames = [
            Frames(video, times.tolist())
            for video, times in zip(self._inputs("video"), self._inputs("timestamps"), strict=True)
        ]
        features: list[FrameFeatures] = self.encoder(frames)
        return features

    def _compressed(self) -> list[TimedTokens]:
        samples = self._samples()
        draws = RecordedDraws.for_batch(self._draws(), len(samples))
        tokens: list[TimedTokens] = self.compressor(self._encoded(), samples, draws, self._times())
        return tokens

    def _samples(self) -> list[VideoSample]:
        given = self.record["samples"]
        samples = []
        for i, duration in enumerate(self._inputs("duration").tolist()):
            prior = ast.literal_eval(given["stage1_result"][i]) if "stage1_result" in given else None
            samples.append(
                VideoSample(
                    id=given["query_id"][i],
                    video="",
                    query=given["query_prompt"][i].removeprefix("Query: ").removesuffix("\n"),
                    duration=self._unit(duration, duration),
                    speech=[Moment(*span) for span in given.get("subtitle_durations", [[]] * (i + 1))[i]],
                    prior=None
                    if prior is None
                    else [Moment(*(self._unit(bound, duration) for bound in window)) for window in prior],
                )
            )
        return samples

    def _times(self) -> list[list[float]]:
        durations = self._inputs("duration").tolist()
        times = self._inputs("timestamps").tolist()
        return [[self._unit(t, d) for t in row] for row, d in zip(times, durations, strict=True)]

    def _unit(self, seconds: float, duration: float) -> float:
        """A time as the recorded model compared it: in seconds, or in steps of the video."""
        if self.config.get("input_time_format") != "frame_indices":
            return seconds
        return round(seconds * self.record["durations_arg"][0] / duration)

    def _inputs(self, name: str) -> Tensor:
        size = len(self.record["samples"]["query_id"])
        return self.inputs[name][:size]

    def _draws(self) -> list[Draw]:
        draws: list[Draw] = []
        for key in sorted(key for key in self.recorded if key.startswith("rng_")):
            value = self.recorded[key]
            if value.ndim == 2:
                draws.append(value)
            else:
                draws.append(int(value) if key.endswith("randint") else float(value))
        return draws


def _encoder(config: dict[str, Any]) -> EvaVit:
    vit = config["vit"]
    return EvaVit(
        vit["img_size"], vit["patch_size"], vit["embed_dim"], vit["depth"], vit["num_heads"], vit["mlp_ratio"]
    )


def _compressor(config: dict[str, Any], recorded: dict[str, Tensor]) -> QFormerCompressor:
    bert = config["qformer"]
    sizes = QFormerSettings(
        vocab_size=bert["vocab_size"],
        width=bert["hidden_size"],
        layers=bert["num_hidden_layers"],
        heads=bert["num_attention_heads"],
        hidden=bert["intermediate_size"],
        max_positions=bert["max_position_embeddings"],
    )
    widths = {"encoder_width": config["vit"]["embed_dim"], "language_width": config["t5"]["d_model"]}
    num_queries = config["num_query_token"]
    if "bias1" not in config:
        aggregate = "mean" if config.get("frame_token_aggregation") == "mean" else None
        return QFormerFrames(**widths, num_queries=num_queries, qformer=sizes, aggregate=aggregate)
    return KeyframeQFormer(**widths, num_queries=num_queries, qformer=sizes, keyframes=_settings(config, recorded))


def _settings(config: dict[str, Any], recorded: dict[str, Tensor]) -> KeyframeSettings:
    # Every cluster holds its centre at least, so the recorded labels tell how many there were.
    labels = recorded.get("cluster0_idx")
    clusters = config["num_clusters"] if labels is None else int(labels.max()) + 1
    mode = config["key_frame_selection"]
    first_stage = {"num_clusters": clusters, "dilation": config["bias1"], "mask_distance": "batch"}
    if "bias2" not in config:
        known = mode if mode in ("cluster", "information", "interval") else "none"
        return KeyframeSettings(mode=known, **first_stage)
    return KeyframeSettings(
        features="qformer",
        prior_clusters=8,
        prior_dilation=config["bias2"],
        prior_without_frames="none",
        budget=0.5,
        dilate_speech=True,
        **first_stage,
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = path.with_suffix(".safetensors")
    return load_file(path) if path.is_file() else {}


def _mask(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _same(found: Tensor, expected: Tensor, what: str) -> float:
    wrong = int((found != expected).sum())
    assert wrong == 0, f"{what}: {wrong} of {expected.numel()} differ; {found.tolist()}, recorded {expected.tolist()}"
    return 0.0


def _close(found: Tensor, expected: Tensor, what: str) -> float:
    assert found.shape == expected.shape, f"{what}: shape {list(found.shape)}, recorded {list(expected.shape)}"
    difference = float((found - expected).abs().max())
    assert difference <= TOLERANCE, f"{what}: largest difference {difference:.2e}, allowed {TOLERANCE:.0e}"
    return difference
