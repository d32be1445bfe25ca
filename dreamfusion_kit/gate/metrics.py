"""Reads metrics/<suite>.json, from a file or from a revision in Git's history.

The file may come from an untrusted pull request: its size is limited, it is parsed strictly,
and each problem is reported on one line.
"""

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.recipe.evaluation import JUDGE_NAME

FORMAT_VERSION = 2
MAX_BYTES = 16_000_000  # a thousand assets take less than two million

AssetId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
MetricKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,128}$")]
JudgeName = Annotated[str, Field(pattern=JUDGE_NAME)]
Label = Annotated[str, Field(max_length=500)]


class _Record(BaseModel):
    # Keys that the gate does not read may be added to the format without a new version.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class ViewRows(_Record):
    """One entry per view: found its own caption or not, and its cosine with it.

    `hit` is None if there was no pool of captions to choose from.
    """

    hit: Annotated[str, Field(pattern=r"^[01]*$")] | None = None
    cosine: tuple[float, ...] = ()


class AssetRow(_Record):
    """What one asset was made from, and its metrics by dotted key; None if not measured."""

    prompt: str
    recipe: Label
    identity: Label
    seed: int
    metrics: dict[MetricKey, float | bool | None]
    views: ViewRows | None = None

    @property
    def hits(self) -> str:
        """Return a digit per view, 1 if it found its own caption; empty without a pool."""
        return "" if self.views is None else self.views.hit or ""

    @property
    def cosines(self) -> tuple[float, ...]:
        """Return each view's cosine with its own caption; empty without a judge."""
        return () if self.views is None else self.views.cosine

    def value(self, key: str) -> float | None:
        """Return the metric as a number, None if it was not measured."""
        value = self.metrics.get(key)
        return None if value is None else float(value)


class Metrics(_Record):
    """The part of metrics/<suite>.json that the gate reads."""

    suite: Label
    judge: dict[str, Any] | None
    other_judges: dict[JudgeName, dict[str, Any]] = Field(default_factory=dict)
    vqa: dict[str, Any] | None = None
    caption_pool: dict[str, Any] | None
    code: dict[Label, Label]
    machine: dict[str, Any] | None
    assets: dict[AssetId, AssetRow]


def metrics_paths(suite: str) -> tuple[Path, ...]:
    """Return where the suite's metrics may be, relative to the workspace, likeliest first."""
    root = Path("metrics") / f"{suite}.json"
    return (root,) if suite == "default" else (Path("suites") / suite / root, root)


def read_workspace(workspace: Path, suite: str) -> Metrics:
    """Return the suite's metrics as they are in the workspace now."""
    for path in metrics_paths(suite):
        if (workspace / path).is_file():
            return read_file(workspace / path)
    raise EvaluationError(
        f"{metrics_paths(suite)[0]}: found no file, expected the suite's metrics; run `dvc repro`"
    )


def read_against(workspace: Path, suite: str, against: str) -> Metrics:
    """Return the metrics to compare with: a JSON file's, or the suite's at a Git revision."""
    if against.endswith(".json"):
        return read_file(workspace / against)
    return read_revision(workspace, suite, against)


def read_file(path: Path) -> Metrics:
    """Return the metrics of the file at `path`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EvaluationError(
            f"{path}: {error.strerror or 'cannot be read'}; expected a metrics file"
        ) from error
    return parse(content, str(path))


def read_revision(workspace: Path, suite: str, revision: str) -> Metrics:
    """Return the suite's metrics as they were committed at `revision`."""
    named = ("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    commit = None if revision.startswith("-") else _git(workspace, *named)  # never an option
    if commit is None:
        raise EvaluationError(
            f"revision {revision!r}: not found in this repository, expected a commit, branch or "
            "tag (or a file ending in .json); in CI fetch the history first"
        )
    for path in metrics_paths(suite):
        # ./ makes the path relative to the workspace, which may be a folder of the repository.
        content = _git(workspace, "show", f"{commit.decode().strip()}:./{path.as_posix()}")
        if content is not None:
            return parse(content, f"{revision}:{path.as_posix()}")
    raise EvaluationError(
        f"{revision}:{metrics_paths(suite)[0].as_posix()}: not in that revision, expected the "
        "suite's metrics; compare with a revision that has them"
    )


def parse(content: bytes, where: str) -> Metrics:
    """Return the metrics that `content` holds; `where` names it in errors."""
    if len(content) > MAX_BYTES:
        raise EvaluationError(f"{where}: found more than {MAX_BYTES} bytes, expected a small file")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{where}: not JSON ({error}); run `dvc repro` again") from error
    version = data.get("format_version", 1) if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise EvaluationError(
            f"{where}: found format version {str(version)[:20]}, expected {FORMAT_VERSION}, which "
            "has a row per asset; measure again with `dvc repro`"
        )
    try:
        return Metrics.model_validate_json(content)
    except ValidationError as error:
        raise EvaluationError("\n".join(_problems(error, where))) from None


def _problems(error: ValidationError, where: str) -> list[str]:
    lines: list[str] = []
    for detail in error.errors(include_url=False)[:10]:
        key = ".".join(str(part)[:80] for part in detail["loc"])
        lines.append(f"{where}: {key}: {detail['msg']}; run `dvc repro` again")
    return lines


def _git(workspace: Path, *arguments: str) -> bytes | None:
    """Return git's output, or None if it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=workspace, capture_output=True, check=False)
    except OSError as error:
        raise EvaluationError(
            f"git: {error.strerror}; expected Git, whose history holds earlier metrics"
        ) from error
    return done.stdout if done.returncode == 0 else None
