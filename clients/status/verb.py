"""The verb `status`: the page once, or kept up to date on a terminal until Ctrl-C."""

import contextlib
import time

from rich.console import Console
from rich.live import Live

from clients.asking.cloud_channel import CloudChannel, service_address
from clients.status.now import look
from clients.status.page import page
from fl.settings import Settings, resolve

EVERY_S = 2.0


def show_status(settings: Settings, console: Console, *, once: bool) -> None:
    """Print the page; where the console is no terminal, or with `once`, a single time."""
    keys = resolve(settings.site.keys) if settings.site.keys else None
    address = settings.site.cloud if keys else service_address(settings)
    with CloudChannel(address, settings.asking.timeout_s, keys=keys) as channel:
        first = page(look(settings, channel, at=time.time()))
        if once or not console.is_terminal:
            console.print(first)
            return
        with (
            contextlib.suppress(KeyboardInterrupt),
            Live(first, console=console, screen=True) as live,
        ):
            while True:
                time.sleep(EVERY_S)
                live.update(page(look(settings, channel, at=time.time())))
