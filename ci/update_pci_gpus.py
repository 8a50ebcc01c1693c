"""Writes compat/data/pci_gpus.json from the PCI ID database: device id → chip and product name.

Usage: python ci/update_pci_gpus.py PCI.IDS OUTPUT.json (the file is at https://pci-ids.ucw.cz/).
The compute capability of each chip stands in OUTPUT.json itself, under ``chips``: it is kept.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

CODE_NAME = re.compile(r"^(?:G[FKMPVHABR]|TU|AD)\w*\d\w*")
NOT_A_GPU = ("Audio", "USB", "SMBus", "PCIe", "NVLink", "Controller", "Bridge", "NVSwitch")


def nvidia_devices(text: str) -> list[tuple[str, str]]:
    """(device id, name) of every entry below vendor 10de."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith("\t"):
            inside = line.startswith("10de")
        elif inside and not line.startswith("\t\t"):
            device, name = line.strip().split(None, 1)
            found.append((device, name))
    return found


def main() -> int:
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    text = source.read_text("utf-8")
    version = re.search(r"Version: ([\d.]+)", text)
    chips = json.loads(output.read_text("utf-8"))["chips"]
    devices, unknown = {}, set()
    for device, name in nvidia_devices(text):
        code_name = CODE_NAME.match(name)
        if not code_name or any(word in name.split("[")[0] for word in NOT_A_GPU):
            continue
        fitting = [chip for chip in chips if code_name.group().startswith(chip)]
        if not fitting:
            unknown.add(code_name.group())
            continue
        chip = max(fitting, key=len)
        product = re.search(r"\[(.*)\]", name)
        devices[f"0x{device}"] = [chip, product.group(1) if product else ""]
    meta = {
        "generated": version.group(1).replace(".", "-") if version else "",
        "source": "https://pci-ids.ucw.cz/ (3-clause BSD), vendor 10de; chips: gpu_arch.json",
        "rule": "a chip has one compute capability; products are named in brackets after the chip",
    }
    lines = [f'  "{key}": {json.dumps(value)}' for key, value in sorted(devices.items())]
    chip_lines = [f'  "{key}": {json.dumps(value)}' for key, value in sorted(chips.items())]
    output.write_text(
        f'{{\n"meta": {json.dumps(meta, indent=1)},\n"chips": {{\n'
        + ",\n".join(chip_lines)
        + '\n},\n"devices": {\n'
        + ",\n".join(lines)
        + "\n}\n}\n",
        "utf-8",
    )
    print(f"{len(devices)} devices; chips without a compute capability: {sorted(unknown)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
