"""From the catalogue to a measured choice: which mirrors to ask for a use, and which one won."""

from __future__ import annotations

from collections.abc import Sequence

from cuready.errors import MirrorError
from cuready.mirrors.catalogue import Catalogue, Mirror, Use
from cuready.mirrors.net.ladder import ProbeKind
from cuready.mirrors.net.prober import HttpProber
from cuready.mirrors.net.ranking import Candidate, OnStanding, Ranking, TestLimits, rank

__all__ = ["TORCH_TAG", "candidates", "fastest", "measure"]

# The build that is asked for when nobody names another: it exists since PyTorch 2.9, and serves
# every driver from 580 on (compat/data/torch_builds.json).
TORCH_TAG = "cu130"

_KINDS: dict[Use, ProbeKind] = {
    "conda": ProbeKind.CONDA_CHANNEL,
    "pypi": ProbeKind.PYPI_INDEX,
    "torch": ProbeKind.TORCH_WHEELS,
}


def candidates(
    use: Use, mirrors: Sequence[Mirror], *, channel: str = "conda-forge", tag: str = TORCH_TAG
) -> list[Candidate]:
    """Those of ``mirrors`` that carry ``use``, with the address that a test has to ask."""
    found = []
    for mirror in mirrors:
        url = _address(use, mirror, channel, tag)
        if url is None:
            continue
        status = mirror.status
        found.append(
            Candidate(
                name=mirror.name,
                kind=_KINDS[use],
                url=url,
                failure_domains=mirror.fate,
                status_url=status.url if status else "",
                status_format=status.format if status else "",
            )
        )
    return found


def measure(
    use: Use,
    mirrors: Sequence[Mirror],
    *,
    channel: str = "conda-forge",
    tag: str = TORCH_TAG,
    limits: TestLimits | None = None,
    on_update: OnStanding | None = None,
) -> Ranking:
    """Ask them all and put them in order. Takes a few seconds and at most some 50 MB."""
    asked = candidates(use, mirrors, channel=channel, tag=tag)
    with HttpProber(project="torch" if use == "torch" else "pip") as prober:
        return rank(asked, prober, limits, on_update=on_update)


def fastest(use: Use, known: Catalogue, *, on_update: OnStanding | None = None) -> Mirror:
    """The best of the catalogue for ``use`` now.

    Raises MirrorError, which lists every cause, when none gives the right answer.
    """
    ranking = measure(use, known.for_use(use), on_update=on_update)
    if ranking.first is not None:
        return known.get(ranking.first.candidate.name)
    attempts = [standing.to_dict() for standing in ranking.standings]
    raise MirrorError(
        f"no mirror answers for {use}",
        messages=[
            f"{item['name']}: {item['title']} {item['detail']}".rstrip() for item in attempts
        ],
        hint="see the causes above: is there a network, a proxy, a portal to log in to?",
        details={"attempts": attempts},
    )


def _address(use: Use, mirror: Mirror, channel: str, tag: str) -> str | None:
    if use == "conda":
        return mirror.conda.channel_url(channel) if mirror.conda else None
    if use == "pypi":
        return mirror.pypi.index_url if mirror.pypi else None
    return mirror.torch.url(tag) if mirror.torch else None
