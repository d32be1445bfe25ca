"""A suite's protocol: written out in the suite's file, or named and read from protocols/.

protocols/NAME.yaml has the same `evaluation:` block as a suite's file, so that several suites can
share one, such as a paper's.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from dreamfusion_kit.recipe.document import Document, KeyPath, Problem, did_you_mean, recipe_error
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.recipe.schema.base import NAMED_TAG, WRITTEN_TAG
from dreamfusion_kit.recipe.workspace import NAME, protocol_file

_KEY: KeyPath = ("evaluation",)


def _tag(value: object) -> str:
    return NAMED_TAG if isinstance(value, str) else WRITTEN_TAG


ProtocolSection = Annotated[
    Annotated[EvaluationSection, Tag(WRITTEN_TAG)]
    | Annotated[str, Field(pattern=NAME), Tag(NAMED_TAG)],
    Discriminator(_tag),
]


class ProtocolFile(Section):
    """What a file in protocols/ says."""

    evaluation: EvaluationSection = Field(description="The protocol.")


def load_protocol_file(path: Path) -> EvaluationSection:
    """Return the protocol that a file in protocols/ holds.

    Raises:
        RecipeError: with one line per problem.
    """
    return validate(load_yaml(path), ProtocolFile).evaluation


def protocol_of(
    section: EvaluationSection | str, workspace: Path, document: Document
) -> EvaluationSection:
    """Return the protocol that the suite's file in `document` has or names.

    Raises:
        RecipeError: if the workspace has no protocol of that name, or it has problems.
    """
    if isinstance(section, EvaluationSection):
        return section
    path = protocol_file(workspace, section)
    if path.is_file():
        return load_protocol_file(path)
    known = [file.stem for file in sorted(path.parent.glob("*.yaml"))]
    meant = did_you_mean(section, known)
    there = f"there are {', '.join(known)}" if known else "that folder has none"
    hint = f"did you mean {meant}?" if meant else there
    text = f"found {section}, expected a file {path.parent.name}/{path.name}; {hint}"
    raise recipe_error([Problem(document.place(_KEY), _KEY, text)])
