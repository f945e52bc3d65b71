"""The stages that a timm model names itself."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from kd_lightning.taps.finding.resolution import layout_suffix, size
from kd_lightning.taps.finding.stages import is_stem, spread
from kd_lightning.taps.finding.trace import Call, Trace

STEM = re.compile(r"(.*\.)?(conv_)?(stem|bn|act|norm|conv)[0-9]*(\..*)?$")


def stages_by_feature_info(model: nn.Module, trace: Trace) -> list[str]:
    """The addresses of the stages in `feature_info`, without the stem; empty where there is none that fits."""
    for prefix, module in model.named_modules():
        info = getattr(module, "feature_info", None)
        entries = getattr(info, "info", info)
        if isinstance(entries, list) and entries and all(isinstance(e, dict) and "module" in e for e in entries):
            return _addresses([_in_model(prefix, entry) for entry in entries], trace)
    return []


def _in_model(prefix: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "module": f"{prefix}.{entry['module']}" if prefix else entry["module"]}


def _addresses(entries: list[dict[str, Any]], trace: Trace) -> list[str]:
    if any(entry["module"] not in trace.last for entry in entries):
        return []
    if len({entry.get("reduction") for entry in entries}) == 1:
        entries = spread(entries)
    elif _starts_with_stem(entries, trace):
        entries = entries[1:]
    addresses = [_address(entry, trace) for entry in entries]
    return addresses if all(addresses) and len(set(addresses)) == len(addresses) else []


def _address(entry: dict[str, Any], trace: Trace) -> str:
    """The address of one entry, or "" where it cannot be read as a map."""
    call = trace.last[entry["module"]]
    is_input = entry.get("hook_type") == "forward_pre"
    shape = call.input_shape if is_input else call.shape
    if size(shape, trace.example_shape) is None or not (is_input or trace.is_tappable(call)):
        return ""
    return call.path + ":input" * is_input + layout_suffix(shape, trace.example_shape)


def _starts_with_stem(entries: list[dict[str, Any]], trace: Trace) -> bool:
    first, second = (trace.last[entry["module"]] for entry in (entries[0], entries[1]))
    return bool(STEM.match(first.path)) or is_stem(*_layers_until(trace, first, second))


def _layers_until(trace: Trace, first: Call, second: Call) -> Iterator[list[Call]]:
    """The layers that end at or before one call, and those between it and a second one."""
    ends = trace.calls.index(first), trace.calls.index(second)
    yield [call for call in trace.calls[: ends[0] + 1] if call.is_weighted]
    yield [call for call in trace.calls[ends[0] + 1 : ends[1] + 1] if call.is_weighted]
