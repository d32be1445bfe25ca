"""Says in one line why a repository of the hub is unavailable, and what to do about it."""

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.recipe.schema import HubMirrorSection, HubSourceSection


def explain(error: Exception, place: HubMirrorSection, source: HubSourceSection) -> str:
    """Say in one line why a repository is unavailable, and what to do."""
    page = f"https://huggingface.co/{place.repository}"
    reason = printable(str(error)) or type(error).__name__
    if isinstance(error, GatedRepoError):
        return (
            f"is gated ({source.license_note}; {_token(error)}); expected a login whose owner has "
            f"accepted the licence; accept it on {page}, then run `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return (
            f"does not exist or is private ({_token(error)}); expected a public repository with "
            f"that commit; check {page}, set HF_TOKEN or add a mirror to the source's `mirrors`"
        )
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return (
            f"refuses access ({reason}; {_token(error)}); expected a token that may read it; check "
            f"{page}, then run `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{reason}; expected every file of the source's `files` there; run the fetch "
            "without --offline and HF_HUB_OFFLINE where there is a network"
        )
    return (
        f"cannot be fetched ({reason}); expected a hub that sends its files; run the fetch "
        "again: it resumes where it stopped; --offline uses what is in the cache"
    )


def _token(error: HfHubHTTPError) -> str:
    sent = "authorization" in error.response.request.headers
    return "a token was sent" if sent else "no token was sent"
