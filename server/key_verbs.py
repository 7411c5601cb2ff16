"""The verb `keys`: the cloud's keys, and a bundle of keys for every site that is named."""

from typing import Annotated

import typer

from fl.settings import Settings, load


def keys(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SITE]... [KEY=VALUE]...",
            help="Ids of sites, and settings of configs/base.yaml.",
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or an IP address by which sites reach this host; repeatable."),
    ] = None,
) -> None:
    """Make the cloud's keys and certificates, and the bundle of each SITE.

    Reads nothing but what it made before, which it leaves as it is. Writes keys (var/pki): the
    authority, the server's certificate for every --host, the key that signs releases; and for a
    site keys/sites/SITE, a folder that is copied to the site's host, unread by anyone else.
    """
    words = words or []
    settings = load([word for word in words if "=" in word])
    from server.keys import make_cloud_keys, make_site_keys

    make_cloud_keys(settings.keys_dir, hosts=[*_configured_hosts(settings), *(host or [])])
    typer.echo(f"  cloud: {settings.keys_dir}")
    for site_id in (word for word in words if "=" not in word):
        bundle = make_site_keys(settings.keys_dir, site_id)
        typer.echo(f"  {site_id}: {bundle} (for its host, as site.keys; keep it private)")


def _configured_hosts(settings: Settings) -> list[str]:
    """Where the cloud listens, unless that is every address it has."""
    from fl.wire.address import is_wildcard, split_address  # imports gRPC, other verbs need none

    addresses = (settings.cloud.fleet, settings.service.address)
    hosts = [split_address(address)[0] for address in addresses]
    return [host for host in hosts if not is_wildcard(host)]
