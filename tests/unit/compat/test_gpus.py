"""Names and PCI ids of GPUs → compute capability."""

from __future__ import annotations

import pytest
from tests.hang import no_hang

from cuready.compat import gpus
from cuready.compat.tables import rows, table
from cuready.errors import CompatError


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("GeForce RTX 3070", "8.6"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "8.9"),
        ("rtx3070ti", "8.6"),
        ("4090", "8.9"),
        ("RTX 6000 Ada", "8.9"),
        ("Quadro RTX 6000", "7.5"),
        ("RTX A6000", "8.6"),
        ("RTX PRO 6000 Blackwell", "12.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("A100-SXM4-80GB", "8.0"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("Tesla T4", "7.5"),
        ("A10G", "8.6"),
        ("L40S", "8.9"),
        ("B200", "10.0"),
        ("GB10", "12.1"),
        ("DGX Spark", "12.1"),
        ("Jetson AGX Orin", "8.7"),
        ("GTX 1060 6GB", "6.1"),
        ("GeForce GT 1030", "6.1"),
        ("GeForce GTX 750 Ti", "5.0"),
        ("TITAN V", "7.0"),
        ("TITAN RTX", "7.5"),
        ("K80", "3.7"),
    ],
)
def test_usual_spellings(name: str, capability: str) -> None:
    assert str(gpus.by_name(name).capability) == capability


@pytest.mark.parametrize("name", ["RTX 307O", "GeForce RTX 9999", "Radeon RX 7900", "", "banana"])
def test_unknown_name_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(CompatError) as caught:
        gpus.by_name(name)
    assert repr(name) in caught.value.message
    assert "--capability" in caught.value.hint


def test_a_pasted_page_is_no_name() -> None:
    with no_hang(), pytest.raises(CompatError):
        gpus.by_name("a " * 32_000)


def test_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(CompatError) as caught:
        gpus.by_name("GeForce RTX 307O")
    assert "'GeForce RTX 3070'" in caught.value.hint


@pytest.mark.parametrize(
    ("device", "capability", "geforce"),
    [
        ("0x2684", "8.9", True),
        ("0x2330", "9.0", False),
        ("0X1B80", "6.1", True),
        ("0x2e12", "12.1", False),
    ],
)
def test_pci_id(device: str, capability: str, geforce: bool) -> None:
    found = gpus.by_pci_id(device)
    assert found is not None
    assert (str(found.capability), found.geforce) == (capability, geforce)


def test_pci_id_outside_the_table_is_none() -> None:
    assert gpus.by_pci_id("0xffff") is None


def test_two_tables_agree_on_every_product_that_both_name() -> None:
    """The PCI table's chip and gpu_arch.json's list give one capability; GK106 once sold as 750 Ti."""
    document = table("pci_gpus")
    listed = {
        gpus._fold(name): row["cc"]
        for row in rows("gpu_arch", "architectures")
        for names in row["gpus"].values()
        for name in names
    }
    differing = {
        product
        for chip, product in document["devices"].values()
        if product
        and listed.get(gpus._fold(product), document["chips"][chip]) != document["chips"][chip]
    }
    assert differing == {"GeForce GTX 750 Ti"}


def test_every_chip_has_a_capability_that_the_architecture_table_knows() -> None:
    known = {row["cc"] for row in rows("gpu_arch", "architectures")}
    assert set(table("pci_gpus")["chips"].values()) <= known
