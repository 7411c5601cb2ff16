"""Which sites a rule of management keeps from the cloud, as the cloud itself enforces it."""

from fl.errors import GenerationError
from fl.network.rules import Rules


def check_allowed(rules: Rules, site_id: str) -> None:
    """Raise GenerationError (PERMISSION_DENIED) for a site that is denied the cloud."""
    if rules.number("deny", site_id):
        raise GenerationError(
            f"A filter keeps site {site_id} from the cloud. Answer at the site, or take the filter "
            "back where it was set.",
            status="PERMISSION_DENIED",
        )
