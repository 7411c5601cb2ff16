"""What the settings choose among the things that do not all go together."""

from collections.abc import Callable, Sequence

from fl.aggregation.compatibility import Choice, require
from fl.aggregation.robust import updates_needed
from fl.errors import SettingsError
from fl.settings import Settings, load
from fl.site_list import federated_sites, ranks_may_differ


def choice(settings: Settings) -> Choice:
    """The settings as the validator looks at them (fl.aggregation.compatibility)."""
    federation, learning = settings.federation, settings.learning
    return Choice(
        method=settings.method,
        personal=settings.personal,
        mixed_ranks=ranks_may_differ(settings),
        robust=federation.robust,
        server_optimizer=federation.server_optimizer,
        uplink=federation.uplink,
        late=federation.late,
        ditto=learning.ditto_lambda > 0,
        weighted=learning.personal_weight > 0,
    )


def load_fitting(
    arguments: Sequence[str], warn: Callable[[str], None] = lambda text: None
) -> Settings:
    """`fl.settings.load`, and what is chosen goes together; `warn` is told what is doubtful.

    Raises SettingsError.
    """
    settings = load(arguments)
    for text in require(choice(settings)):
        warn(text)
    require_enough_sites(settings)
    return settings


def require_enough_sites(settings: Settings) -> None:
    """Raise SettingsError where a robust rule can never have the updates it needs."""
    federation, sites = settings.federation, len(federated_sites(settings))
    needed = updates_needed(federation.robust, federation.robust_bad)
    if sites < needed:
        raise SettingsError(
            f"federation.robust={federation.robust} against federation.robust_bad="
            f"{federation.robust_bad} needs the updates of {needed} sites, there are {sites}. "
            "Lower robust_bad, or add sites."
        )
