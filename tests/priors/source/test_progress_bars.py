"""Bars are silent inside the block, and afterwards as they were."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from huggingface_hub import utils as hub
from transformers.utils import logging

from dreamfusion_kit.priors.source.progress_bars import no_progress_bars


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    logging.enable_progress_bar()


@pytest.mark.parametrize("hub_shows", [True, False])
@pytest.mark.parametrize("transformers_shows", [True, False])
def test_bars_are_silent_and_then_as_before(hub_shows: bool, transformers_shows: bool) -> None:
    (logging.enable_progress_bar if transformers_shows else logging.disable_progress_bar)()
    (hub.enable_progress_bars if hub_shows else hub.disable_progress_bars)()
    with suppress(KeyboardInterrupt), no_progress_bars():
        assert hub.are_progress_bars_disabled()
        assert not logging.is_progress_bar_enabled()
        raise KeyboardInterrupt
    assert hub.are_progress_bars_disabled() is not hub_shows
    assert logging.is_progress_bar_enabled() is transformers_shows
