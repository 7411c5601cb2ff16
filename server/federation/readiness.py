"""What must lie on this disk before a simulation can start; said in one sentence if it does not."""

from fl.aggregation.compatibility import check_method
from fl.base_model import base_folder, read_base
from fl.errors import FederationError
from fl.settings import Settings
from fl.site_list import federated_sites, site_folder


def require_ready(settings: Settings) -> None:
    """Check method, base model and every site's book.

    Raises BaseModelError or FederationError naming the verb to run. In a simulation all sites live
    on this disk; only that a book exists is looked at, never what is in it.
    """
    check_method(settings.method)
    read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    for site in federated_sites(settings):
        book = site.book or site_folder(settings, site.id) / "book.jsonl"
        if not book.is_file():
            raise FederationError(
                f"Site {site.id} has no prompt book at {book}. Run ./run.sh books with the same "
                "settings first."
            )
