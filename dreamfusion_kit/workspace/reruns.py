"""Which stages run again, given the keys of kit.json that changed."""

from collections.abc import Iterable, Sequence

from dreamfusion_kit.identity.stage_name import ASSET_STAGES

# In pipeline order: a stage reads outputs of earlier ones.
_ORDER = ("fetch", "embed", "optimize", "mesh", "refine", "evaluate", "score", "report", "scene")
_EVERY = "every asset"
_NAMED = 5


def describe(keys: Iterable[str], assets: Sequence[str], *, refined: bool = False) -> list[str]:
    """Return what reruns in a suite of `assets`, one line per stage, and what may follow.

    Args:
        keys: The dotted keys that changed, as `changed_keys` returns them.
        assets: All of the suite.
        refined: Whether any of them has the stage `refine`.
    """
    subjects: dict[str, dict[str, None]] = {}
    for key in keys:
        stage, subject = _reader(key)
        if stage in _ORDER and (refined or stage != "refine"):
            subjects.setdefault(stage, {})[subject] = None
    lines = [_line(stage, list(subjects[stage]), assets) for stage in _ORDER if stage in subjects]
    first = next((place for place, stage in enumerate(_ORDER) if stage in subjects), len(_ORDER))
    later = [
        stage
        for stage in _ORDER[first:]
        if stage not in subjects and (refined or stage != "refine") and stage != "scene"
    ]
    if later:
        lines.append(f"then {', '.join(later)}, where what they read has changed")
    return lines


def _reader(key: str) -> tuple[str, str]:
    """Return the stage that depends on a key, and its asset or recipe."""
    match key.split("."):
        case ["code", stage]:
            return stage, _EVERY if stage in ASSET_STAGES else ""
        case ["assets", asset, stage]:
            return stage, asset
        case ["recipes", recipe, stage]:
            return stage, recipe
        case ["scenes", scene]:
            return "scene", scene
        case ["suite", "clip"]:
            return "fetch", "clip"
        case ["suite", "pool"]:
            return "evaluate", _EVERY
        case _:
            return key.rpartition(".")[2], ""


def _line(stage: str, subjects: list[str], assets: Sequence[str]) -> str:
    if _EVERY in subjects or (len(assets) > 1 and set(assets) <= set(subjects)):
        return f"{stage} of {_EVERY} reruns"
    if "" in subjects:
        return f"{stage} reruns"
    named = ", ".join(subjects[:_NAMED])
    more = len(subjects) - _NAMED
    return f"{stage} of {named}{f' and {more} more' if more > 0 else ''} reruns"
