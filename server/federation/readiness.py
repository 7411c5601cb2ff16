"""What must lie on this disk before a federation can start; said in one sentence if it does not."""

from fl.aggregation.compatibility import require
from fl.base_model import base_folder, read_base
from fl.choices import choice
from fl.errors import FederationError
from fl.settings import Settings
from fl.site_list import book_path, federated_sites
from fl.tasks import COMPLETE
from server.federation.tensorboard import require_tensorboard


def require_ready(settings: Settings) -> None:
    """All that a simulation needs: there, every site lives on this disk."""
    require_model(settings)
    require_books(settings)


def require_model(settings: Settings) -> None:
    """What the settings ask for goes together, and the base model is here.

    Raises SettingsError, or BaseModelError naming the verb to run.
    """
    require(choice(settings))
    if settings.federation.tensorboard:
        require_tensorboard()
    read_base(base_folder(settings, "edge"), settings.learning.target_modules)


def require_books(settings: Settings) -> None:
    """Every site's book is here; only that it exists is looked at, never what is in it.

    Raises FederationError naming the verb to run.
    """
    for site in federated_sites(settings):
        book = book_path(settings, site)
        if not book.is_file():
            its = "" if settings.task == COMPLETE else f" of task={settings.task}"
            raise FederationError(
                f"Site {site.id} has no prompt book{its} at {book}. A demo site's is written by "
                "./run.sh books with the same settings; a listed site's is named in `sites`."
            )
