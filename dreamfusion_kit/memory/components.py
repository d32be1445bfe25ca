"""The configurations of a prior's components, from its files or from what is published."""

from pathlib import Path

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.memory.architectures import PUBLISHED, Components, Config
from dreamfusion_kit.priors.config.components import read_config
from dreamfusion_kit.priors.config.json_file import read_object
from dreamfusion_kit.priors.config.model_files import check_configs
from dreamfusion_kit.priors.source import fetch
from dreamfusion_kit.priors.source.single_file import converted_directory
from dreamfusion_kit.recipe import schema

_SECOND = "refine.prior/"  # before the names of what a refinement's own prior consists of


def all_components(recipe: schema.Recipe, workspace: Path) -> tuple[Components, str]:
    """Return the configurations of all priors of a recipe, and the origin of the first's.

    Raises:
        WeightsError: as `components` does.
    """
    parts, origin = components(recipe.prior, workspace)
    own = None if recipe.refine is None else recipe.refine.prior
    if own is None:
        return parts, origin
    second, its_origin = components(own, workspace)
    named = {f"{_SECOND}{name}": config for name, config in second.items()}
    return {**parts, **named}, f"{origin}; the refinement's: {its_origin}"


def second_of(parts: Components) -> Components:
    """Return the configurations of a refinement's own prior."""
    return {
        name.removeprefix(_SECOND): config
        for name, config in parts.items()
        if name.startswith(_SECOND)
    }


def components(section: schema.PriorSection, workspace: Path) -> tuple[Components, str]:
    """Return the configurations of what is in memory during an optimisation, and their origin.

    They are read from the model's own files once it has been fetched, else from `architectures`.

    Raises:
        WeightsError: where there are neither files nor a known architecture.
    """
    source = section.source
    if source is None:
        return {}, "a formula"
    try:
        directory = _present(source, workspace)
        configs = {name: _config(directory, name) for name in section.folders}
    except WeightsError as error:
        published = source.kind == "hub" and PUBLISHED.get(source.repository)
        if published:
            return published, "its published architecture; it is not fetched yet"
        raise WeightsError(
            f"prior.source: no configuration of this model is here ({error}); expected a fetched "
            f"model, or one of {', '.join(PUBLISHED)}, whose sizes are known without; run "
            f"`{command_name()} fetch` or put the files in their place"
        ) from error
    check_configs(section, directory)  # a model that does not fit the recipe is not counted
    return configs, "its own files"


def _present(source: schema.ModelSourceSection, workspace: Path) -> Path:
    if not isinstance(source, schema.FileSourceSection):
        return fetch.present(source, workspace)
    directory = converted_directory(source)
    if not directory.is_dir():
        raise WeightsError(f"{source.path}: not converted yet; run the fetch stage")
    return directory


def _config(directory: Path, name: str) -> Config:
    if name != "clip":
        return read_config(directory, name)
    return read_object(directory / "config.json")  # a CLIP's directory is its only component
