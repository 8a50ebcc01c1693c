"""From what people and machines call a GPU to its compute capability: marketing name or PCI id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from cuready.compat.capability import ComputeCapability, parse_capability
from cuready.compat.tables import rows, table
from cuready.errors import CompatError

__all__ = ["Gpu", "by_name", "by_pci_id", "suggest_names"]

# Words that say nothing of the chip: vendors, brands, forms and memory sizes.
_NOISE = re.compile(
    r"\b(nvidia|geforce|quadro|tesla|titan(?= rtx)|corporation|graphics|device|laptop|gpu|mobile|"
    r"notebook|with|design|max-?q|max-?p|pcie|sxm\d?|hbm\w*|nvl|edition|\d+ ?gb|sff)\b"
)


@dataclass(frozen=True)
class Gpu:
    """A GPU by name. ``geforce``: a consumer card (no forward compatibility); None: not known."""

    name: str
    capability: ComputeCapability
    architecture: str
    source: str
    geforce: bool | None = None


def by_pci_id(device_id: str) -> Gpu | None:
    """The GPU with the PCI device id ``0x2684`` (vendor 0x10de); None when the table lacks it."""
    document = table("pci_gpus")
    entry = document["devices"].get(device_id.lower())
    if entry is None:
        return None
    chip, product = entry
    capability = parse_capability(document["chips"][chip])
    return Gpu(
        name=product or chip,
        capability=capability,
        architecture=architecture_of(capability),
        source=document["meta"]["source"],
        geforce=_is_geforce(product),
    )


def architecture_of(capability: ComputeCapability) -> str:
    """``Ada Lovelace`` of 8.9; empty when the tables do not know it."""
    wanted = str(capability)
    return next((r["arch"] for r in rows("gpu_arch", "architectures") if r["cc"] == wanted), "")


def by_name(text: str) -> Gpu:
    """The GPU that ``text`` names, in any usual spelling.

    A laptop part counts as the desktop part of its name: they share the architecture.
    Raises :class:`CompatError` with the closest known names when nothing fits.
    """
    key = _fold(text)
    found = _known().get(key) or _by_number(key) or _by_start(key) or _by_series(key)
    if found is None:
        close = suggest_names(text)
        hint = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
        raise CompatError(
            f"GPU {text!r} is not in our tables", hint=f"{hint}--capability X.Y says it directly"
        )
    return found


def suggest_names(text: str) -> list[str]:
    """Up to three known names that look like ``text``."""
    import difflib

    known = _known()
    close = difflib.get_close_matches(_fold(text), known, n=3, cutoff=0.6)
    return list(dict.fromkeys(known[name].name for name in close))


def _fold(text: str) -> str:
    folded = re.sub(r"[®™()\[\]_/-]", " ", text.lower())
    folded = re.sub(r"\b(rtx|gtx|gt|gts|rx)(\d)", r"\1 \2", folded)
    folded = re.sub(r"(\d)(ti|super)\b", r"\1 \2", folded)
    return " ".join(_NOISE.sub(" ", folded).split())


def _is_geforce(name: str) -> bool | None:
    if not name:
        return None
    return bool(re.search(r"geforce|titan|\bgtx\b", name.lower()))


@cache
def _known() -> dict[str, Gpu]:
    """Folded name → GPU: those of gpu_arch.json first, then the products of the PCI table."""
    known: dict[str, Gpu] = {}
    for row in rows("gpu_arch", "architectures"):
        capability = parse_capability(row["cc"])
        for kind, names in row["gpus"].items():
            for name in names:
                short = name.split("(", maxsplit=1)[0]
                gpu = Gpu(name, capability, row["arch"], row["source"], kind == "geforce")
                known.setdefault(_fold(name), gpu)
                known.setdefault(_fold(short), gpu)
                for alias in re.findall(r"\(([^)]*)\)", name):
                    known.setdefault(_fold(alias), gpu)
    for name, gpu in _products().items():
        known.setdefault(name, gpu)
    return known


def _products() -> dict[str, Gpu]:
    """Folded product name → GPU of the PCI table. Some names were used for several chips over the
    years (GT 1030, GTX 750 Ti): the chip with most device ids stands for the name."""
    by_product: dict[str, list[Gpu]] = {}
    for device_id, (_, product) in table("pci_gpus")["devices"].items():
        for name in product.split(" / ") if product else ():
            key = _fold(name)
            gpu = by_pci_id(device_id)
            if gpu is not None and key and not key.isdigit():
                by_product.setdefault(key, []).append(gpu)
    return {
        key: max(gpus, key=lambda gpu: (_votes(gpus, gpu), gpu.capability))
        for key, gpus in by_product.items()
    }


def _votes(gpus: list[Gpu], candidate: Gpu) -> int:
    return sum(1 for gpu in gpus if gpu.capability == candidate.capability)


def _by_number(key: str) -> Gpu | None:
    """``4090`` or ``3070 ti``: the consumer card of that number."""
    if not key[:1].isdigit():
        return None
    return _known().get(f"rtx {key}") or _known().get(f"gtx {key}")


def _by_start(key: str) -> Gpu | None:
    """``rtx pro 6000 blackwell``: the start of longer names that all mean the same architecture."""
    if len(key.split()) < 2:
        return None
    found = [gpu for name, gpu in _known().items() if name.startswith(key + " ")]
    return found[0] if len({gpu.capability for gpu in found}) == 1 else None


_MOST_WORDS = 20  # no product's name is longer; what is asked about may be a pasted page


def _by_series(key: str) -> Gpu | None:
    """``rtx 3070`` for ``rtx 3070 lite hash rate``: the longest known name that starts the text."""
    words = key.split(maxsplit=_MOST_WORDS)[:_MOST_WORDS]
    for length in range(len(words), 1, -1):
        found = _known().get(" ".join(words[:length]))
        if found is not None:
            return found
    return None
