"""One site's way to the cloud: the emulated link, the channel through it, what is known of it."""

from contextlib import ExitStack
from dataclasses import dataclass

from clients.asking.cloud_channel import CloudChannel, service_address
from clients.routing.link_meter import LinkMeter, measure_link
from fl.link.profiles import profile
from fl.link.relay import Crossed, Relay
from fl.settings import Settings, resolve


@dataclass(frozen=True)
class CloudLink:
    """An open way; `open_link` makes it."""

    channel: CloudChannel
    relay: Relay | None  # None where the cloud is on another host
    meter: LinkMeter

    @property
    def crossed(self) -> Crossed | None:
        """Bytes on the socket so far; None where nobody counts them."""
        return self.relay.crossed if self.relay else None


def open_link(settings: Settings, site_id: str, closing: ExitStack) -> CloudLink:
    """Through link.profile, as this site; `closing` closes it.

    Raises SettingsError for a bad address.
    """
    address, keys = service_address(settings), None
    if settings.site.keys:  # a site on its own host
        address, keys = settings.site.cloud, resolve(settings.site.keys)
    relay: Relay | None = None
    if keys is None:  # on this machine; from elsewhere a relay would need the cloud's own name
        relay = closing.enter_context(
            Relay(address, profile(settings.link.profile), seed=settings.seed)
        )
    channel = closing.enter_context(
        CloudChannel(
            address, settings.asking.timeout_s, keys=keys, via=relay.address if relay else ""
        )
    )
    meter = LinkMeter(lambda: measure_link(channel, site_id), fresh_s=settings.routing.measure_s)
    return CloudLink(channel, relay, meter)
