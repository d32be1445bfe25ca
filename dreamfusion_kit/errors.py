"""Every failure the kit expects, as one tree.

    DreamFusionKitError
    ├── RecipeError          a recipe, suite or override is not what the schema says
    ├── StaleKitError        kit.json does not speak of today's code and inputs
    ├── SuiteError           a suite's run cannot begin, or DVC failed in it
    ├── WeightsError         a pretrained model is missing, damaged or not the pinned one
    ├── CheckpointError      a checkpoint cannot be read, or another run holds the scratch
    ├── NumericsError        an optimisation died: nothing visible, all opaque, or not finite
    ├── MeshError            a field has no surface, or a surface cannot be processed
    ├── EvaluationError      views, captions or metrics do not fit together
    ├── FileError            an output cannot be written: disk full, read-only, in the way
    └── MissingExtraError    an optional package or system library is not installed

A message says where, what was found, what was expected and what to do next. The
command line prints it on one line and exits with status 2.
"""


class DreamFusionKitError(Exception):
    """Base of every expected failure."""


class RecipeError(DreamFusionKitError):
    """A recipe, suite or override is not what the schema says."""


class StaleKitError(DreamFusionKitError):
    """kit.json does not speak of today's code and inputs."""


class SuiteError(DreamFusionKitError):
    """A suite's run cannot begin, or DVC failed in it."""


class WeightsError(DreamFusionKitError):
    """A pretrained model is missing, damaged or not the pinned one."""


class CheckpointError(DreamFusionKitError):
    """A checkpoint cannot be read, or another run holds the scratch."""


class NumericsError(DreamFusionKitError):
    """An optimisation died: nothing visible, all opaque, or not finite."""


class MeshError(DreamFusionKitError):
    """A field has no surface, or a surface cannot be processed."""


class EvaluationError(DreamFusionKitError):
    """Views, captions or metrics do not fit together."""


class FileError(DreamFusionKitError):
    """An output cannot be written: the disk is full or read-only, or something is in its place."""


class MissingExtraError(DreamFusionKitError):
    """An optional package or system library is not installed."""
