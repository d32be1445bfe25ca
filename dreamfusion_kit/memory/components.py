"""The configurations of a prior's components, from its files or from what is published."""

from pathlib import Path

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.memory.architectures import PUBLISHED, Components, Config
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.priors.components import read_config
from dreamfusion_kit.priors.json_file import read_object
from dreamfusion_kit.priors.model_files import check_configs
from dreamfusion_kit.priors.single_file import converted_directory
from dreamfusion_kit.recipe import schema


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
