"""The verb `ledger`: what the sites of this machine have spent, by site and mode."""

from itertools import chain

from rich.console import Console
from rich.text import Text

from clients.ledger.journal import entries, ledger_file
from clients.ledger.summary import summary
from fl.errors import FederationError
from fl.settings import Settings
from fl.site_list import federated_sites


def show_ledger(settings: Settings, console: Console) -> None:
    """Print the table. Raises FederationError where nothing has been asked yet."""
    files = [ledger_file(settings, site.id) for site in federated_sites(settings)]
    text = summary(chain.from_iterable(entries(file) for file in files))
    if not text:
        raise FederationError(
            f"No site under {settings.run_dir} has a ledger yet. Ask something first: "
            "./run.sh ask, with the same settings."
        )
    console.print(Text(text), soft_wrap=True)
    console.print(
        "\n  Bytes on the socket; p50, p99, first: seconds from the short prompt to the end and to "
        "the first text. Other seconds are medians, CPU and bytes sums."
    )
