"""Where pretrained models come from: the hub, the workspace, the kit itself, or one file."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeVar, assert_never

from pydantic import AfterValidator, Field

from dreamfusion_kit.recipe.schema.base import Section, Text, is_one_line
from dreamfusion_kit.recipe.schema.distilled import refuse_distilled, refuse_few_step_names

_Source = TypeVar("_Source", bound=Section)


def _inside_workspace(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path:
        raise ValueError(
            f"found {path!r}, expected a relative path with forward slashes that stays "
            "inside the workspace"
        )
    return path


def _is_safetensors(path: str) -> str:
    if not path.endswith(".safetensors"):
        raise ValueError(
            f"found {path!r}, expected a file that ends in .safetensors: pickles (.ckpt, .pt, "
            ".bin), GGUF and ONNX are never read"
        )
    return path


WorkspacePath = Annotated[
    str, Field(max_length=500), AfterValidator(is_one_line), AfterValidator(_inside_workspace)
]


# A path below a folder that `models.local.yaml` names, which lies anywhere on this machine.
NAMED_PATH = re.compile(r"([a-z0-9_]{1,64}):(.+)")


def _below_workspace_or_name(path: str) -> str:
    named = NAMED_PATH.fullmatch(path)
    _inside_workspace(named.group(2) if named else path)
    return path


ModelPath = Annotated[
    str,
    Field(max_length=500),
    AfterValidator(is_one_line),
    AfterValidator(_below_workspace_or_name),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LocalSourceSection(Section):
    """A pretrained model that lies in the workspace, or in a folder named in models.local.yaml."""

    kind: Literal["local"] = Field(description="A directory on this machine.")
    path: ModelPath = Field(
        description="Directory of the model, relative to the workspace, or as NAME:PATH below a "
        "folder that models.local.yaml names."
    )

    @property
    def name(self) -> str:
        """Return what identifies the model in reports."""
        return self.path


class BundledSourceSection(Section):
    """A model that comes with the kit: the toybox's."""

    kind: Literal["bundled"] = Field(description="A model that is part of the installed kit.")
    name: Literal["prior", "latent", "flow", "clip"] = Field(
        description="Which one: the toybox's prior on pixels, on latents, or on latents as a "
        "rectified flow; or its CLIP."
    )

    @property
    def readers(self) -> tuple[str, ...]:
        """Return the kinds of prior that can read it."""
        match self.name:
            case "prior":
                return ("pixel_unet", "multi_view_unet")
            case "latent":
                return ("latent_unet", "multi_view_unet")
            case "flow":
                return ("flow_transformer",)
            case "clip":
                return ("clip",)
            case _:
                assert_never(self.name)


def _is_safe_pattern(pattern: str) -> str:
    if not pattern.endswith((".json", ".txt", ".model", ".safetensors")) or ".." in pattern:
        raise ValueError(
            f"found {pattern!r}, expected a pattern that ends in .json, .txt, .model or "
            ".safetensors: pickles are never fetched"
        )
    return pattern


FilePattern = Annotated[
    str, Field(max_length=500), AfterValidator(is_one_line), AfterValidator(_is_safe_pattern)
]
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
REPOSITORY = rf"^{_NAME}/{_NAME}$"  # never `..`
Repository = Annotated[str, Field(pattern=REPOSITORY), AfterValidator(refuse_distilled)]


class HubMirrorSection(Section):
    """Another repository with the same model, for when the first is gone."""

    repository: Repository = Field(description="Repository as owner/name.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="Commit as 40 hex digits.")


class HubSourceSection(Section):
    """A pretrained model on the Hugging Face hub, pinned to one commit."""

    kind: Literal["hub"] = Field(description="A repository of the Hugging Face hub.")
    repository: Repository = Field(description="Repository as owner/name on the hub.")
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit as 40 hex digits: a branch name would let the model change.",
    )
    mirrors: tuple[HubMirrorSection, ...] = Field(
        max_length=100,
        description="Repositories to try in order where the first cannot be had.",
    )
    files: tuple[FilePattern, ...] = Field(
        min_length=1,
        max_length=1000,
        description="Patterns of the files to fetch; weights in one number format only.",
    )
    license_note: Text = Field(min_length=1, description="Licence, and what has to be accepted.")

    @property
    def name(self) -> str:
        """Return what identifies the model in reports."""
        return f"{self.repository}@{self.revision}"


class FileSourceSection(Section):
    """A whole Stable Diffusion 1.5, 2.1 or SDXL in one file, with the original repository's names.

    What communities share and trainers write. It is converted once, without a network.
    """

    kind: Literal["file"] = Field(description="One safetensors file of the original layout.")
    path: Annotated[ModelPath, AfterValidator(_is_safetensors)] = Field(
        description="The file, relative to the workspace, or as NAME:PATH below a folder that "
        "models.local.yaml names."
    )
    sha256: Sha256 = Field(description="Its hash as 64 hex digits (`sha256sum FILE`).")
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        description="What its U-Net predicts, which the file does not say: epsilon for SD 1.5, "
        "SD 2.1-base and SDXL, v_prediction for SD 2.1 at 768 px and some tuned models."
    )

    @property
    def name(self) -> str:
        """Return what identifies the model in reports."""
        return f"{self.path}@{self.sha256}"


SourceSection = Annotated[
    BundledSourceSection | LocalSourceSection | HubSourceSection, Field(discriminator="kind")
]


def _is_of_many_steps(source: _Source) -> _Source:
    match source:
        case LocalSourceSection() | FileSourceSection() | WeightsFileSection():
            refuse_few_step_names([source.path])
        case HubSourceSection():
            # Owners are left out: some are called Lightning, and publish anything.
            repositories = (source.repository, *(each.repository for each in source.mirrors))
            names = [repository.partition("/")[2] for repository in repositories]
            refuse_few_step_names([*names, *source.files])
        case _:
            pass
    return source


# Of a denoiser, or of what is merged into one: those that say that they are of a few steps are
# refused.
DenoiserSourceSection = Annotated[SourceSection, AfterValidator(_is_of_many_steps)]
# A whole model may also be one file; a CLIP, a VAE or a transformer may not.
ModelSourceSection = Annotated[
    BundledSourceSection | LocalSourceSection | HubSourceSection | FileSourceSection,
    Field(discriminator="kind"),
    AfterValidator(_is_of_many_steps),
]


class WeightsFileSection(Section):
    """One safetensors file with a part of a model: a LoRA, an embedding or a VAE."""

    kind: Literal["file"] = Field(description="One safetensors file.")
    path: Annotated[ModelPath, AfterValidator(_is_safetensors)] = Field(
        description="The file, relative to the workspace, or as NAME:PATH below a folder that "
        "models.local.yaml names."
    )
    sha256: Sha256 = Field(description="Its hash as 64 hex digits (`sha256sum FILE`).")

    @property
    def name(self) -> str:
        """Return what identifies the file in reports."""
        return f"{self.path}@{self.sha256}"


PartSourceSection = Annotated[
    WeightsFileSection | LocalSourceSection | HubSourceSection, Field(discriminator="kind")
]
LoraSourceSection = Annotated[PartSourceSection, AfterValidator(_is_of_many_steps)]


class BundledViewsSection(Section):
    """What makes the toybox's prior on latents one of several views; it comes with the kit."""

    kind: Literal["bundled"] = Field(description="Weights that are part of the installed kit.")
    name: Literal["multiview"] = Field(
        description="Those of the toybox's prior on latents (bundled latent)."
    )


ViewWeightsSection = Annotated[
    BundledViewsSection | WeightsFileSection | LocalSourceSection | HubSourceSection,
    Field(discriminator="kind"),
    AfterValidator(_is_of_many_steps),
]
