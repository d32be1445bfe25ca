"""The progress bars that libraries draw while they download and load models."""

from collections.abc import Generator
from contextlib import contextmanager

from huggingface_hub import utils as hub
from transformers.utils import logging


@contextmanager
def no_progress_bars() -> Generator[None, None, None]:
    """Silence the bars of the hub's client and of transformers inside the block."""
    hub_shows, transformers_shows = (
        not hub.are_progress_bars_disabled(),
        logging.is_progress_bar_enabled(),
    )
    logging.disable_progress_bar()  # and the hub's
    try:
        yield
    finally:
        if transformers_shows:
            logging.enable_progress_bar()
        if hub_shows:
            hub.enable_progress_bars()
        else:
            hub.disable_progress_bars()
