"""Which parts of a suite are up to date and which must be made, found without DVC.

A stage is up to date if dvc.lock records the present digests, its inputs are what the stages
before it wrote, and its outputs are there with as many files and bytes as it records. Contents are
not hashed: `dvc status` does that.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.identity.kit_file import Kit
from dreamfusion_kit.identity.stage_name import AssetStage, asset_stages
from dreamfusion_kit.recipe.resolved import refined_assets
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import DEFAULT, SOURCE, suite_root
from dreamfusion_kit.suites.lock_file import Extent, LockedStage, read_lock


@dataclass(frozen=True)
class StageState:
    """Whether a stage is up to date; `reason` says why not, and is empty if it is."""

    stage: AssetStage
    reason: str


@dataclass(frozen=True)
class AssetPlan:
    """The stages of one asset, in the order in which they run."""

    asset: str
    folder: str | None
    stages: tuple[StageState, ...]

    @property
    def stale(self) -> tuple[AssetStage, ...]:
        """Return the stages to run: the first that is not up to date, and all after it."""
        return tuple(state.stage for state in self.stages if state.reason)


@dataclass(frozen=True)
class SuitePlan:
    """All that a suite needs: the names of models to fetch, and the stages of each asset."""

    fetches: tuple[str, ...]
    assets: tuple[AssetPlan, ...]


def plan(workspace: Path, suite: Suite, kit: Kit) -> SuitePlan:
    """Return what has to be made in `suite`, whose digests are `kit`."""
    root = suite_root(workspace, suite.name)
    shared = read_lock(root / "dvc.lock")
    fetches = {name: _stale_fetch(root, suite, kit, shared, name) for name in kit.suite["recipes"]}
    fetches["clip"] = _stale_fetch(root, suite, kit, shared, "clip")
    models = {path: digest for stage in shared.values() for path, digest in stage.outs.items()}
    folders = {folder: read_lock(root / "assets" / folder / "dvc.lock") for folder in suite.folders}
    assets = [
        _plan_asset(root, suite, kit, asset, folders.get(_folder(suite, asset), shared), models)
        for asset in suite.assets
    ]
    return SuitePlan(tuple(name for name, stale in fetches.items() if stale), tuple(assets))


def stage_name(suite: Suite, stage: str, item: str) -> str:
    """Return DVC's name of a stage: in the suite's dvc.yaml, or in its asset's."""
    if suite.name == DEFAULT:
        return "fetch_clip" if (stage, item) == ("fetch", "clip") else f"{stage}@{item}"
    if stage == "fetch":
        return f"fetch_{item}"
    return stage + item.removeprefix(_folder(suite, item))


def stage_target(suite: Suite, stage: str, item: str) -> str:
    """Return a stage as DVC's commands take it, in the suite's folder."""
    name = stage_name(suite, stage, item)
    if suite.name == DEFAULT or stage == "fetch":
        return name
    return f"assets/{_folder(suite, item)}/dvc.yaml:{name}"


def lock_path(root: Path, suite: Suite, asset: str) -> Path:
    """Return the file with the lock entries of an asset's stages."""
    folder = suite.declared[asset].folder
    return (root if folder is None else root / "assets" / folder) / "dvc.lock"


def _folder(suite: Suite, asset: str) -> str:
    return suite.declared[asset].folder or ""


def _stale_fetch(
    root: Path, suite: Suite, kit: Kit, lock: Mapping[str, LockedStage], name: str
) -> bool:
    inputs = "suite.clip" if name == "clip" else f"recipes.{name}.fetch"
    keys = {"kit.json": {key: _at(kit.suite, key) for key in ("code.fetch", inputs)}}
    recorded = lock.get(stage_name(suite, "fetch", name))
    return bool(_why_stale(recorded, keys, {}, root, (f"out/model/{name}.json",)))


def _plan_asset(
    root: Path,
    suite: Suite,
    kit: Kit,
    asset: str,
    lock: Mapping[str, LockedStage],
    models: Mapping[str, str],
) -> AssetPlan:
    written = dict(models)
    states: list[StageState] = []
    reason = ""
    imported = suite.assets[asset].imported is not None
    refined = "refine" in _digests(suite, kit, asset)
    for stage in asset_stages(imported=imported, refined=refined):
        recorded = lock.get(stage_name(suite, stage, asset))
        if not reason:
            keys = _keys(suite, kit, stage, asset)
            reason = _why_stale(recorded, keys, written, root, outputs(stage, asset))
            states.append(StageState(stage, reason))
        else:
            states.append(StageState(stage, f"after {states[-1].stage}"))
        if recorded is not None:
            written |= recorded.outs
    return AssetPlan(asset, suite.declared[asset].folder, tuple(states))


def stages_of(workspace: Path, suite: Suite, asset: str) -> tuple[AssetStage, ...]:
    """Return the stages of an asset in their order."""
    imported = suite.assets[asset].imported is not None
    return asset_stages(imported=imported, refined=asset in refined_assets(workspace, suite))


def inputs(suite: Suite, asset: str, stages: Collection[AssetStage]) -> list[str]:
    """Return DVC's targets of what an asset is made from: models, and an imported file."""
    own = suite.assets[asset]
    recipe = [own.recipe] if "embed" in stages else []
    models = [stage_target(suite, "fetch", name) for name in (*recipe, "clip")]
    if own.imported is None:
        return models
    return [f"assets/{_folder(suite, asset)}/{SOURCE}.dvc", *models]


def outputs(stage: AssetStage, asset: str) -> tuple[str, ...]:
    """Return what a stage writes, relative to the suite's folder."""
    match stage:
        case "embed":
            return (f"out/text/{asset}.safetensors",)
        case "optimize":
            return (f"out/field/{asset}", f"out/run/{asset}/optimize.json")
        case "mesh":
            return (f"out/mesh/{asset}", f"out/run/{asset}/mesh.json")
        case "refine":
            return (f"out/refined/{asset}", f"out/run/{asset}/refine.json")
        case "evaluate":
            return (f"out/evaluation/{asset}",)


def _keys(suite: Suite, kit: Kit, stage: AssetStage, asset: str) -> dict[str, dict[str, object]]:
    """Return the digests that a stage depends on, by file and key, as in dvc.yaml."""
    shared = [f"code.{stage}", *(["suite.pool"] if stage == "evaluate" else [])]
    folder = suite.declared[asset].folder
    keys: dict[str, object] = {key: _at(kit.suite, key) for key in shared}
    digest = _digests(suite, kit, asset)[stage]
    if folder is None:
        return {"kit.json": {**keys, f"assets.{asset}.{stage}": digest}}
    own: dict[str, object] = {f"{asset}.{stage}": digest}
    return {"kit.json": keys, f"assets/{folder}/{kit_file.KIT_FILE}": own}


def _digests(suite: Suite, kit: Kit, asset: str) -> Mapping[str, str]:
    """Return the digests of an asset's stages; only those that it has."""
    folder = suite.declared[asset].folder
    try:
        return kit.suite["assets"][asset] if folder is None else kit.folders[folder][asset]
    except KeyError:
        raise SuiteError(
            f"{suite.name}: found no digests of {asset}, expected those of every asset; the suite "
            "was edited meanwhile; run the command again"
        ) from None


def _why_stale(
    recorded: LockedStage | None,
    keys: Mapping[str, Mapping[str, object]],
    written: Mapping[str, str],
    root: Path,
    outs: Iterable[str],
) -> str:
    """Return why a stage has to run; empty if it does not."""
    if recorded is None:
        return "not made yet"
    for file, values in keys.items():
        for key, digest in values.items():
            if recorded.params.get(file, {}).get(key) != digest:
                return "code changed" if key.startswith("code.") else "inputs changed"
    for path, digest in recorded.deps.items():
        if written.get(path, digest) != digest:
            return f"{path} changed"
    for out in outs:
        expected, found = recorded.extents.get(out), _extent(root / out)
        if found is None:
            return f"{Path(out).name} missing"
        if expected not in (None, found):
            return f"{out} has {found}, recorded were {expected}"
    return ""


def _extent(path: Path) -> Extent | None:
    """Return the extent of what is at `path`; None if nothing is."""
    if not path.exists():
        return None
    if not path.is_dir():
        return Extent(1, path.stat().st_size)
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    sizes = [file.stat().st_size for file in files if file.exists()]  # DVC's links may dangle
    return Extent(len(sizes), sum(sizes))


def _at(digests: Mapping[str, object], dotted: str) -> object:
    value: object = digests
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
