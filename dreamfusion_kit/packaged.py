"""Where the package keeps files that are not code."""

from pathlib import Path

# The toybox's own models: its prior, its CLIP and its view classifier.
MODELS = Path(__file__).parent / "toybox" / "weights"
