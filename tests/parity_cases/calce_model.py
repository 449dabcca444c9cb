"""CALCE and MR.BLIP at toy size: prompts, embeddings, logits, loss, gradients and generated windows of whole models.

A folder with ``model.json`` and ``model.safetensors`` is a model; every other JSON file in it with ``samples`` a case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lavis.common.random import DrawSource, RecordedDraws
from lavis.models.build import adapt, build_model, load_keymap
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, Moment, Subtitle, VideoSample, Visual

SYSTEM = "calce"
EMBEDDING, LOGIT = 1e-5, 1e-4

CALCE_TASK = "Given the video and the subtitle and the query, find the query relevant windows.\nRelevant windows: "
MR_BLIP_TASK = "Given the video and the query, find the relevant windows.\nRelevant windows: "


def cases(golden: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Every case of every model folder below ``golden``."""
    for folder in sorted(p.parent for p in golden.glob("*/model.json")):
        for file in sorted(folder.glob("*.json")):
            if "samples" in json.loads(file.read_text()):
                yield f"{folder.name}/{file.stem}", lambda folder=folder, file=file: Case(folder, file).run()


def model_node(folder: Path, attrs: dict[str, Any]) -> dict[str, Any]:
    """Our configuration for the recorded one, changed as the case says."""
    config = {**json.loads((folder / "model.json").read_text())["config"], **attrs}
    mr_blip = folder.name == "mr_blip"
    stage2 = folder.name == "stage2"
    task = str(config["task"])
    time_format = config.get("input_time_format", "seconds_integers")
    vit, qformer, t5 = config["vit"], config["qformer"], config["t5"]
    clusters = next((v for k, v in attrs.items() if "cluster" in k and isinstance(v, int)), config.get("num_clusters"))
    compressor: dict[str, Any] = {
        "name": "qformer_frames" if mr_blip else "keyframe_qformer",
        "num_queries": config["num_query_token"],
        "qformer": {
            "vocab_size": qformer["vocab_size"],
            "width": qformer["hidden_size"],
            "layers": qformer["num_hidden_layers"],
            "heads": qformer["num_attention_heads"],
            "hidden": qformer["intermediate_size"],
            "max_positions": qformer["max_position_embeddings"],
        },
    }
    if mr_blip:
        compressor["aggregate"] = "mean" if config.get("frame_token_aggregation") else None
        interleave = bool(config["interleave_data"])
        prompt = {
            "name": "interleaved",
            "task": MR_BLIP_TASK,
            "show_task": "no_task_prompt" not in task,
            "show_subtitles": False,
            "show_items": False,
            "show_duration_again": "add_duration" in task,
            "show_times": bool(time_format),
            "interleave": interleave,
            "attend_padding": True,
            "end_mark_in_video": False,
            "eval_layout": "batch",
        }
        codec: dict[str, Any] = (
            {"name": "relative_text", "style": time_format, "convert_targets": False}
            if str(time_format).startswith("relative")
            else {"name": "seconds_text", "style": time_format or "seconds_integers", "target_replacement": "none"}
        )
        if codec["name"] == "seconds_text":
            codec["parser"] = "mr_blip"
    else:
        keyframes: dict[str, Any] = {
            "features": "qformer" if stage2 else "patch_mean",
            "mode": config.get("key_frame_selection", "cluster"),
            "num_clusters": clusters,
            "dilation": config["bias1"],
            "mask_distance": "batch",
        }
        if stage2:
            keyframes |= {"mode": "cluster", "prior_clusters": 8, "prior_dilation": config["bias2"]}
            keyframes |= {"budget": 0.5, "dilate_speech": True}
        compressor["keyframes"] = keyframes
        prompt = {
            "name": "interleaved",
            "task": CALCE_TASK,
            "show_items": stage2 or "item" in task,
            "show_prior": stage2,
            "eval_layout": "batch",
        }
        codec = {"name": "seconds_text", "style": time_format, "target_replacement": "substring", "parser": "calce"}
        codec["convert_speech"] = False
        if "format_target_amount" in config:
            codec["num_indices"] = config["format_target_amount"]
    node: dict[str, Any] = {
        "encoder": {
            "name": "eva_vit",
            "image_size": vit["img_size"],
            "patch_size": vit["patch_size"],
            "width": vit["embed_dim"],
            "depth": vit["depth"],
            "heads": vit["num_heads"],
            "mlp_ratio": vit["mlp_ratio"],
            "vit_precision": "fp32",
        },
        "compressor": compressor,
        "prompt": prompt,
        "codec": codec,
        "language_model": {
            "name": "t5",
            "tokenizer": str(folder.parent / "tokenizers" / "t5_tiny"),
            "overrides": {k: v for k, v in t5.items() if k != "tie_word_embeddings"},
            "lora": {"rank": 8, "alpha": 8, "dropout": 0.05},
        },
        "generation": {"num_beams": 5, "max_new_tokens": 50 if mr_blip else 70},
        "trainable": [
            "language_model.*.lora_*",
            "compressor.t5_proj.*",
            "encoder.ln_vision.*",
            *([] if mr_blip else ["compressor.query_proj.*"]),
        ],
    }
    if not mr_blip:
        node["subtitle_choice"] = {"tokenizer": str(folder.parent / "tokenizers" / "bert_tiny")}
    return node


@lru_cache(maxsize=4)
def _model(folder: Path, attrs: str) -> VideoLLM:
    model = build_model(model_node(folder, json.loads(attrs)))
    state, _ = load_keymap("calce").apply(load_file(folder / "model.safetensors"), str(folder))
    fitted = adapt(state, model)
    own = dict(model.state_dict())
    unknown = sorted(set(fitted) - set(own))
    # Tied copies have no entry in the published file; everything else must be there.
    missing = sorted(n for n, _ in model.named_parameters() if n not in fitted)
    assert not unknown and not missing, f"weights differ: unknown {unknown[:5]}, missing {missing[:5]}"
    model.load_state_dict(fitted, strict=False)
    return model.eval()


class Case:
    """One recorded call of one model."""

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder = folder
        self.record = json.loads(file.read_text())
        arrays = file.with_suffix(".safetensors")
        self.arrays = load_file(arrays) if arrays.exists() else {}
        main = load_file(folder / "main.safetensors")
        self.video = self.arrays.get("video", main["video"])
        self.timestamps = self.arrays.get("timestamps", main["timestamps"])
        self.duration = self.arrays.get("duration", main["duration"])
        grads = file.with_suffix(".grads.safetensors")
        self.grads = load_file(grads) if grads.exists() else {}
        self.worst = 0.0

    def run(self) -> float:
        record = self.record
        if "loss" not in record:
            return self.without_original(json.dumps(record["attrs"], sort_keys=True))
        model = _model(self.folder, json.dumps(record["attrs"], sort_keys=True))
        self.embeddings(model)
        self.prompts(model)
        packed = model.pack(self.batch(), answer=True, draws=self.draws())
        if "embed_lens" in record:
            assert packed.block_lengths == record["embed_lens"], f"{packed.block_lengths} != {record['embed_lens']}"
        self.close("attention_mask", packed.mask, 0)
        self.close("inputs_embeds", packed.embeds, EMBEDDING)
        self.close("labels", packed.labels, 0)
        self.close("decoder_attention_mask", packed.label_mask, 0)
        output = model.language_model(packed)
        self.close("logits", output.logits, LOGIT)
        assert output.loss is not None
        loss_gap = abs(float(output.loss.detach()) - record["loss"])
        assert loss_gap <= LOGIT, f"loss {float(output.loss)} != {record['loss']}"
        self.worst = max(self.worst, loss_gap)
        if self.grads:
            self.gradients(model, output.loss)
        self.generation(model)
        return self.worst

    def without_original(self, attrs: str) -> float:
        """Where the original crashes, ours refuses the settings in words, or gives every sample an answer."""
        try:
            predictions = _model(self.folder, attrs).generate(self.batch())
        except ValueError as error:
            assert "must be" in str(error), f"refused without saying what is allowed: {error}"
            return 0.0
        assert [p.id for p in predictions] == self.record["samples"]["query_id"]
        assert all(p.moments for p in predictions)
        return 0.0

    def embeddings(self, model: VideoLLM) -> None:
        if "vision_embeds" not in self.arrays:
            return
        features = model.encoder.encode(self.batch().views)
        self.close("vision_embeds", torch.cat([f.tokens for f in features]), EMBEDDING)

    def prompts(self, model: VideoLLM) -> None:
        """The prompt in words, part by part, as the original logs it."""
        sequences, tokens = model.sequences(self.batch(), draws=self.draws())
        parts = [["".join(map(_shown, block.one_by_one())) for block in sequence.blocks] for sequence in sequences]
        if self.folder.name != "mr_blip":
            counts = self.record["frame_token_counts"]
            assert [t.counts for t in tokens] == counts, f"tokens of frames {[t.counts for t in tokens]} != {counts}"
            numbered = [_numbered(part[0], t.counts) for part, t in zip(parts, tokens, strict=True)]
            ours = {
                "video_prompt": numbered,
                "subtitle_prompt": [p[1] for p in parts],
                "text_prompt": [p[2] for p in parts],
            }
        elif len(parts[0]) == 3:
            listed = [p[0].split("#")[1:] for p in parts]
            ours = {"video_prompt": ["".join(f"f{i}-{t}>" for i, t in enumerate(p))[:-1] for p in listed]}
        else:
            ours = {"video_prompt": [f"{p[0]}frames{p[2]}" for p in parts]}
        for name, texts in ours.items():
            assert texts == self.record[name], f"{name} {texts} != {self.record[name]}"

    def generation(self, model: VideoLLM) -> None:
        packed = model.pack(self.batch(), draws=self.draws())
        if "gen_inputs_embeds" in self.arrays:
            self.close("gen_inputs_embeds", packed.embeds, EMBEDDING)
        outputs = model.language_model.generate(packed, model.generation)
        predictions = [model.codec.decode(o, s) for o, s in zip(outputs, self.samples(), strict=True)]
        wanted = self.record.get("generate_out")
        texts = self.record.get("generate_raw_text") or wanted["raw_pred_windows"]
        assert [o.text for o in outputs] == texts, f"{[o.text for o in outputs]} != {texts}"
        if "gen_sequences" in self.arrays:
            ours = [o.token_ids for o in outputs]
            theirs = [[t for t in row[1:] if t not in (0, 1)] for row in self.arrays["gen_sequences"].tolist()]
            assert ours == theirs, f"generated ids {ours} != {theirs}"
        if "gen_sequences_scores" in self.arrays:
            scores = torch.tensor([o.sequence_score for o in outputs])
            self.close("gen_sequences_scores", scores, LOGIT)
        if wanted is not None:
            windows = [[list(m.to_list()) for m in p.moments] for p in predictions]
            texts = wanted.get("prediction")
            expected = wanted["pred_windows"] if texts is None else [json.loads(t) for t in texts]
            assert windows == expected, f"windows {windows} != {expected}"

    def gradients(self, model: VideoLLM, loss: Tensor) -> None:
        model.zero_grad()
        loss.backward()
        keymap = load_keymap("calce")
        learned = {n for n, p in model.named_parameters() if p.requires_grad}
        recorded: set[str] = set()
        for name, theirs in self.grads.items():
            ours_name = keymap.rename(name.removeprefix("grad."))
            assert ours_name in learned, f"{name} learned in the original, not here"
            ours = model.get_parameter(str(ours_name)).grad
            assert ours is not None, f"no gradient at {ours_name}"
            self.close(name, ours, LOGIT, theirs)
            recorded.add(str(ours_name))
        extra = {n for n in learned - recorded if (g := model.get_parameter(n).grad) is not None and bool(g.any())}
        assert not extra, f"these learn here but not in the original: {sorted(extra)[:5]}"
        model.zero_grad(set_to_none=True)

    def close(self, name: str, ours: Tensor | None, tolerance: float, theirs: Tensor | None = None) -> None:
        theirs = self.arrays.get(name) if theirs is None else theirs
        if theirs is None:
            return
        assert ours is not None and ours.shape == theirs.shape, (
            f"{name}: shape {None if ours is None else tuple(ours.shape)} != {tuple(theirs.shape)}"
        )
        gap = float((ours.detach().double() - theirs.double()).abs().max()) if theirs.numel() else 0.0
        self.worst = max(self.worst, gap)
        assert gap <= tolerance, f"{name} differs by {gap:.3g} (allowed {tolerance:.0e})"

    def batch(self) -> Batch:
        frames = [Frames(pixels, times) for pixels, times in zip(self.video, self.timestamps.tolist(), strict=True)]
        return Batch(self.samples(), {"frames": frames})

    def samples(self) -> list[VideoSample]:
        given = self.record["samples"]
        stage1 = given.get("stage1_result")
        result = []
        for i, identity in enumerate(given["query_id"]):
            result.append(
                VideoSample(
                    id=identity,
                    video="recorded",
                    query=given["query_prompt"][i].removeprefix("Query: ").removesuffix("\n"),
                    duration=self.duration.tolist()[i],
                    moments=[Moment(*w) for w in json.loads(given["relevant_windows"][i])],
                    subtitles=[Subtitle(s["start"], s["end"], s["text"]) for s in given.get("subtitles", [[]] * 99)[i]],
                    speech=[Moment(*w) for w in given.get("subtitle_durations", [[]] * 99)[i]],
                    items=given["item_prompt"][i].removeprefix("Items: ").strip().split(",")
                    if "item_prompt" in given
                    else [],
                    prior=[Moment(*w) for w in json.loads(stage1[i])] if stage1 else None,
                )
            )
        return result

    def draws(self) -> list[DrawSource]:
        """The recorded random numbers, dealt out to the samples in the order they used them."""
        names = sorted((n for n in self.arrays if n.startswith("rng_")), key=lambda n: int(n.split("_")[1]))
        values = [self.arrays[n] if self.arrays[n].ndim == 2 else self.arrays[n].item() for n in names]
        return list(RecordedDraws.for_batch(values, len(self.record["samples"]["query_id"])))


def _shown(segment: Any) -> str:
    return "#" if isinstance(segment, Visual) else str(segment.text)


def _numbered(video: str, counts: list[int]) -> str:
    pieces = video.split("#")
    return pieces[0] + "".join(f"[f{i}-{n}]{text}" for i, (n, text) in enumerate(zip(counts, pieces[1:], strict=True)))
