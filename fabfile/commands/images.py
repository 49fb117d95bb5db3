"""Images with the software of the cluster in them, which save each machine its installing."""

from __future__ import annotations

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from .account import JSON, ability, show
from .options import TEMPLATE, YES


@task(name="list", help={"template": TEMPLATE, "json": JSON})
def list_(c: Context, template: str = "", json: bool = False) -> None:
    """The images that were baked in this account, the newest first."""
    from .. import accounts, listings, session

    provider = session.account(c, template)
    show(
        ability(provider, accounts.ImageKeeping, "images that it keeps").images(),
        listings.images,
        json=json,
        template=template,
    )


@task(help={"template": TEMPLATE})
def bake(c: Context, template: str = "") -> None:
    """Make an image with the software of the settings in it; `provision` takes it as long as that is what it wants."""
    from .. import accounts, report, session

    provider = session.account(c, template)
    able = ability(provider, accounts.ImageKeeping, "images that it keeps")
    with report.Progress(provider.name) as progress:
        image = able.bake(progress)
    report.say(f"{image.id} ({image.name}) has the software; `provision` takes it from now on")


@task(help={"image": "its id or name", "template": TEMPLATE, "yes": YES})
def remove(c: Context, image: str = "", template: str = "", yes: bool = False) -> None:
    """Remove an image that was baked, with the storage it takes."""
    from .. import accounts, report, session

    if not image:
        raise UsageError("which image?", hint="`invoke images.remove --image ID`; `invoke images.list` shows them")
    able = ability(session.account(c, template), accounts.ImageKeeping, "images that it keeps")
    session.agree_to(f"remove the image {image}", yes=yes)
    there = any(image in (one.id, one.name) for one in able.images())
    able.remove_image(image)
    report.say(f"{image} is gone" if there else f"nothing to do: no image {image} was baked, or it is gone already")
