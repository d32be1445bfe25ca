"""The suite's judges, their pool of captions, and what is known about a prompt's object."""

from dataclasses import dataclass
from pathlib import Path

import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.evaluation.clip import load_clip
from dreamfusion_kit.evaluation.entry import JudgeEntry, PoolEntry
from dreamfusion_kit.evaluation.judge import Judge, Questioner
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.recipe.captions import declared_captions
from dreamfusion_kit.recipe.evaluation import VQA
from dreamfusion_kit.recipe.schema import SourceSection
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.records import Truth
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout
from dreamfusion_kit.stages.locked import locked_directory
from dreamfusion_kit.toybox.captions import caption_pool
from dreamfusion_kit.toybox.truth import toybox_truth

_VIEW_WEIGHTS = packaged.MODELS / "view"


@dataclass(frozen=True)
class Entries:
    """The names of the suite's judges and its pool, as metrics files have them."""

    judge: JudgeEntry | None
    other_judges: dict[str, JudgeEntry]
    vqa: JudgeEntry | None
    pool: PoolEntry | None


def load_judges(
    suite: Suite, layout: SuiteLayout, prompt: str, truth: Truth | None, device: torch.device
) -> dict[str, Judge]:
    """Return the suite's judges by name, the main one first.

    Their pool includes the asset's own caption.
    """
    sources = suite.evaluation.judges
    if not sources:
        return {}
    pool = declared_pool(suite, layout.workspace)
    is_known = truth is not None and pool.has(truth.caption)
    with_own = pool if is_known else pool.including(prompt)
    return {
        name: Judge(
            model=load_clip(_directory(suite, layout, name, source), device=device),
            name=_name(source),
            pool=with_own,
        )
        for name, source in sources.items()
    }


def load_questioner(suite: Suite, layout: SuiteLayout, device: torch.device) -> Questioner | None:
    """Return the model that answers whether a view shows the prompt; None without one."""
    source = suite.evaluation.vqa
    if source is None:
        return None
    # Imported here: transformers takes longer to import than a CLIP takes to judge an asset.
    from dreamfusion_kit.evaluation.vqa import load_question_answerer

    return load_question_answerer(_directory(suite, layout, VQA, source), device=device)


def declared_pool(suite: Suite, workspace: Path) -> CaptionPool:
    """Return the captions that the suite's protocol names."""
    declared = declared_captions(suite.evaluation.caption_pool, suite.prompts, workspace)
    return CaptionPool(caption_pool() if declared is None else declared)


def entries_of(suite: Suite, workspace: Path) -> Entries:
    """Return the entries for judges and pool, as the suite's protocol names them."""
    protocol = suite.evaluation
    judges = {name: JudgeEntry(name=_name(source)) for name, source in protocol.judges.items()}
    vqa = None if protocol.vqa is None else JudgeEntry(name=_name(protocol.vqa))
    if not judges:
        return Entries(None, {}, vqa, None)
    main, *others = judges
    pool = declared_pool(suite, workspace)
    return Entries(
        judge=judges[main],
        other_judges={name: judges[name] for name in others},
        vqa=vqa,
        pool=PoolEntry(
            kind=protocol.caption_pool.kind, size=len(pool.captions), sha256=pool.sha256
        ),
    )


def known_truth(prompt: str, device: torch.device) -> Truth | None:
    """Return what is known about the object that the prompt names; None for most prompts."""
    return toybox_truth(prompt, view_weights=_VIEW_WEIGHTS, device=device)


def _directory(suite: Suite, layout: SuiteLayout, name: str, source: SourceSection) -> Path:
    part = None if suite.evaluation.is_plain else name
    return locked_directory(source, layout.model(CLIP), layout.workspace, part=part)


def _name(source: SourceSection) -> str:
    """Return the name that stands beside the judge's verdicts."""
    return f"toybox {source.name}" if source.kind == "bundled" else source.name
