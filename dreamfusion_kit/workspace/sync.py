"""Brings kit.json in line with code, recipes and suite, and says what will rerun."""

from collections.abc import Mapping
from pathlib import Path

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.identity.kit_file import Kit
from dreamfusion_kit.recipe.scene import load_scene, scene_names
from dreamfusion_kit.recipe.suite import Suite, load_protocol, load_suite
from dreamfusion_kit.workspace.pipeline import stale_pipelines


def sync(workspace: Path, suite: str) -> list[str]:
    """Write the suite's changed digests; return their keys.

    Raises:
        RecipeError: with every problem of the suite, or if its dvc.yaml files do not match
            its assets; nothing is written then.
    """
    check_pipelines(workspace, load_suite(workspace, suite))
    before = kit_file.read(workspace, suite)
    after = kit_file.current(workspace, suite)
    kit_file.write(workspace, suite, after)
    return changed_keys(before, after)


def check_pipelines(workspace: Path, suite: Suite) -> None:
    """Refuse a suite whose dvc.yaml files are those of other assets, as after an edit by hand.

    Raises:
        RecipeError: for those, or with every problem of the suite.
    """
    stale = stale_pipelines(workspace, suite)
    if stale:
        names = ", ".join(str(path) for path in stale[:3]) + (", ..." if len(stale) > 3 else "")
        raise RecipeError(
            f"{names}: found a pipeline of other assets, expected that of the suite as it is; "
            f"run `{command_name()} upgrade --suite {suite.name}`"
        )


def reads_no_other_files(workspace: Path, suite: str) -> bool:
    """Return whether `sync` reads nothing but the package, recipes and the suite's own files.

    A pool of captions in a file, a judge in the workspace and a scene's light are read too.
    """
    protocol = load_protocol(workspace, suite)
    is_local = any(source.kind == "local" for source in protocol.sources.values())
    scenes = [load_scene(workspace, suite, name) for name in scene_names(workspace, suite)]
    has_file = any(scene.light.file is not None for scene in scenes)
    return protocol.caption_pool.kind != "file" and not is_local and not has_file


def changed_keys(before: Kit, after: Kit) -> list[str]:
    """Return the dotted keys whose digests differ or are new."""
    return [key for key, digest in _flat(after).items() if _flat(before).get(key) != digest]


def _flat(kit: Kit) -> dict[str, str]:
    assets: dict[str, object] = {}
    for digests in kit.folders.values():
        assets |= digests
    return dict(_leaves({**kit.suite, "assets": kit.suite.get("assets", assets)}, ""))


def _leaves(value: Mapping[str, object], prefix: str) -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for key, entry in sorted(value.items()):
        if isinstance(entry, Mapping):
            leaves += _leaves(entry, f"{prefix}{key}.")
        else:
            leaves.append((prefix + key, str(entry)))
    return leaves
