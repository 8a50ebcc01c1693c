"""From the catalogue to the candidates of `cuready mirror test`, per use."""

from __future__ import annotations

from collections.abc import Iterable

from cuready.mirrors.catalogue import Mirror, Use
from cuready.mirrors.net.ladder import ProbeKind
from cuready.mirrors.net.ranking import Candidate

__all__ = ["candidates_for"]


def candidates_for(
    mirrors: Iterable[Mirror], use: Use, *, channel: str = "conda-forge", torch_tag: str = "cpu"
) -> list[Candidate]:
    """Every mirror that is believed to carry ``use``; for conda, those that carry ``channel``."""
    found: list[Candidate] = []
    for mirror in mirrors:
        address = _address(mirror, use, channel, torch_tag)
        if address is None:
            continue
        kind, url = address
        status = mirror.status
        found.append(
            Candidate(
                mirror.name,
                kind,
                url,
                mirror.fate,
                "" if status is None else status.url,
                "" if status is None else status.format,
            )
        )
    return found


def _address(mirror: Mirror, use: Use, channel: str, tag: str) -> tuple[ProbeKind, str] | None:
    if use == "conda" and mirror.conda is not None:
        url = mirror.conda.channel_url(channel)
        return None if url is None else (ProbeKind.CONDA_CHANNEL, url)
    if use == "pypi" and mirror.pypi is not None:
        return ProbeKind.PYPI_INDEX, mirror.pypi.index_url
    if use == "torch" and mirror.torch is not None:
        return ProbeKind.TORCH_WHEELS, mirror.torch.url(tag)
    return None
