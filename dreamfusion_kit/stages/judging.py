"""The suite's judge, its pool of captions, and what is known about a prompt's object."""

from pathlib import Path

import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.evaluation.clip import load_clip
from dreamfusion_kit.evaluation.entry import JudgeEntry, PoolEntry
from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.recipe.captions import declared_captions
from dreamfusion_kit.recipe.schema import SourceSection
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.records import Truth
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout
from dreamfusion_kit.stages.locked import locked_directory
from dreamfusion_kit.toybox.captions import caption_pool
from dreamfusion_kit.toybox.truth import toybox_truth

_VIEW_WEIGHTS = packaged.MODELS / "view"


def load_judge(
    suite: Suite, layout: SuiteLayout, prompt: str, truth: Truth | None, device: torch.device
) -> Judge | None:
    """Return the suite's judge; its pool includes the asset's own caption. None without one."""
    source = suite.evaluation.clip
    if source is None:
        return None
    directory = locked_directory(source, layout.model(CLIP), layout.workspace)
    pool = declared_pool(suite, layout.workspace)
    is_known = truth is not None and pool.has(truth.caption)
    return Judge(
        model=load_clip(directory, device=device),
        name=_name(source),
        pool=pool if is_known else pool.including(prompt),
    )


def declared_pool(suite: Suite, workspace: Path) -> CaptionPool:
    """Return the captions that the suite's protocol names."""
    declared = declared_captions(suite.evaluation.caption_pool, suite.prompts, workspace)
    return CaptionPool(caption_pool() if declared is None else declared)


def entries_of(suite: Suite, workspace: Path) -> tuple[JudgeEntry, PoolEntry] | tuple[None, None]:
    """Return the entries for judge and pool; None and None if the suite has no judge."""
    protocol = suite.evaluation
    if protocol.clip is None:
        return None, None
    pool = declared_pool(suite, workspace)
    size, sha256 = len(pool.captions), pool.sha256
    return (
        JudgeEntry(name=_name(protocol.clip)),
        PoolEntry(kind=protocol.caption_pool.kind, size=size, sha256=sha256),
    )


def known_truth(prompt: str, device: torch.device) -> Truth | None:
    """Return what is known about the object that the prompt names; None for most prompts."""
    return toybox_truth(prompt, view_weights=_VIEW_WEIGHTS, device=device)


def _name(source: SourceSection) -> str:
    """Return the name that stands beside the judge's verdicts."""
    return f"toybox {source.name}" if source.kind == "bundled" else source.name
