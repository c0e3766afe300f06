# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the Hub demands of the metadata of a model card, as far as our cards use it."""

import re

import yaml


LICENSES = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "mit", "other", "unknown")
PIPELINE_TAGS = ("depth-estimation", "image-segmentation", "keypoint-detection", "object-detection")
LIBRARIES = ("diffusers", "transformers")


def card_errors(content: str) -> list[str]:
    """Sentences on what is wrong with the metadata of a card; empty if all is well."""
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if match is None:
        return ["There is no metadata."]
    data = yaml.safe_load(match[1])
    if not isinstance(data, dict):
        return ["The metadata is no mapping."]
    checks = {
        "license": data.get("license") in LICENSES,
        "library_name": data.get("library_name") in LIBRARIES,
        "pipeline_tag": data.get("pipeline_tag") in (None, *PIPELINE_TAGS),
        "tags": _is_list(data.get("tags"), str),
        "datasets": "datasets" not in data or _is_list(data["datasets"], str),
        "model-index": "model-index" not in data or _is_model_index(data["model-index"]),
    }
    return [f"{name} is not valid." for name, is_valid in checks.items() if not is_valid]


def _is_list(value, kind: type) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, kind) for item in value)


def _is_model_index(value) -> bool:
    return _is_list(value, dict) and all(
        isinstance(model.get("name"), str)
        and _is_list(model.get("results"), dict)
        and all(_is_result(result) for result in model["results"])
        for model in value
    )


def _is_result(result: dict) -> bool:
    metrics = result.get("metrics")
    return (
        isinstance(result["task"]["type"], str)
        and isinstance(result["dataset"]["type"], str)
        and isinstance(result["dataset"]["name"], str)
        and _is_list(metrics, dict)
        and all(isinstance(metric["type"], str) and isinstance(metric["value"], (int, float)) for metric in metrics)
    )
