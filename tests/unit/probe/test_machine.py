"""Readers of the host, the driver and its surroundings, over recorded machines."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest

from cuready.probe import take
from cuready.snapshot import Snapshot

from .roots import KERNEL, LIB, MODELS, add_dpkg, add_pci, link, make_root, write

ENV = {"PATH": "/usr/bin:/usr/local/cuda/bin"}


def read(root: Path, **options: Any) -> Snapshot:
    snapshot = take(root=str(root), env={**ENV, **options.pop("env", {})}, **options)
    assert not [r for r in snapshot.readers if r.status in ("failed", "timeout")], snapshot.readers
    return snapshot


def test_a_healthy_ubuntu_with_one_gpu(tmp_path: Path) -> None:
    found = read(make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05"))
    assert found.scope.kind == "root"
    host = found.platform
    assert (host.distro_id, host.distro_like, host.distro_version) == (
        "ubuntu",
        ("debian",),
        "24.04",
    )
    assert (host.kernel_release, host.libc, host.libc_version) == (KERNEL, "glibc", "2.39")
    assert (host.machine, host.wsl, host.container) == ("x86_64", None, None)
    (gpu,) = found.gpus
    assert (gpu.address, gpu.device_id, gpu.driver) == ("0000:01:00.0", "0x2684", "nvidia")
    assert gpu.name == MODELS["RTX 4090"]
    driver = found.driver
    assert (driver.module_loaded, driver.uvm_loaded) == (True, True)
    assert (driver.version, driver.flavour) == ("580.95.05", "open")
    assert driver.proc_gpus == ("0000:01:00.0",)
    assert driver.proc_gpu_uuids["0000:01:00.0"].startswith("GPU-")
    assert driver.module_files == (f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.zst",)
    assert {node.path: node.exists for node in found.device_nodes} == {
        "/dev/nvidia0": True,
        "/dev/nvidiactl": True,
        "/dev/nvidia-uvm": True,
        "/dev/nvidia-uvm-tools": True,
    }
    cuda = driver.libraries[0]
    assert cuda.soname == "libcuda.so.1"
    assert cuda.real_path == f"/{LIB}/libcuda.so.580.95.05"
    assert (cuda.version, cuda.rule) == ("580.95.05", "ld.so.cache")
    assert (found.nvml.status, found.cuda.status) == ("skipped", "skipped")


def test_the_proprietary_flavour_is_told_from_the_open_one(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["GTX 1080"], driver="535.183.01", flavour="proprietary")
    found = read(root).driver
    assert (found.flavour, found.version) == ("proprietary", "535.183.01")


def test_no_gpu_at_all_has_nothing_to_ask(tmp_path: Path) -> None:
    found = read(make_root(tmp_path))
    assert found.gpus == ()
    assert found.driver.module_loaded is False
    assert all(not node.exists for node in found.device_nodes)
    reader = found.reader("driver-packages")
    assert reader and (reader.status, reader.reason) == ("skipped", "no NVIDIA device")


def test_an_image_without_proc_and_sys_is_unknown_not_broken(tmp_path: Path) -> None:
    write(tmp_path, "/etc/os-release", "ID=debian\n")
    found = read(tmp_path)
    assert found.driver.module_loaded is None
    for name in ("pci", "kernel-driver", "device-nodes"):
        reader = found.reader(name)
        assert reader and reader.status == "skipped" and "is not there" in reader.reason


def test_an_upgraded_userland_shows_beside_the_old_module(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["A100"], driver="550.90.07", userland="550.120")
    found = read(root).driver
    assert found.version == "550.90.07"
    assert {library.version for library in found.libraries} == {"550.120"}


def test_nouveau_and_unbound_cards_are_seen(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 3070"], pci_driver="nouveau")
    add_pci(root, "0000:02:00.0", "0x2684", "0x030000", driver=None)
    add_pci(root, "0000:02:00.1", "0x22ba", "0x040300", driver="snd_hda_intel")
    add_pci(root, "0000:03:00.0", "0x1234", "0x030000", driver="amdgpu", vendor="0x1002")
    found = read(root)
    assert [(gpu.address, gpu.driver) for gpu in found.gpus] == [
        ("0000:01:00.0", "nouveau"),
        ("0000:02:00.0", None),
    ]


def test_names_come_from_pci_ids_where_no_driver_tells(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], pci_driver=None)
    text = (
        "# list\n10dd  Other\n\t2684  Not this\n"
        "10de  NVIDIA Corporation\n\t2683  Before\n\t2684  AD102 [GeForce RTX 4090]\n"
        "\t\t10de 16f4  A board\n10df  Emulex\n\t2684  Nor this\n"
    )
    write(root, "/usr/share/misc/pci.ids", text)
    assert read(root).gpus[0].name == "AD102 [GeForce RTX 4090]"


@pytest.mark.parametrize("wsl", [1, 2])
def test_wsl_is_told_by_its_kernel(tmp_path: Path, wsl: int) -> None:
    found = read(make_root(tmp_path, wsl=wsl))
    assert found.platform.wsl == wsl
    assert any(node.path == "/dev/dxg" for node in found.device_nodes)
    if wsl == 2:
        assert found.driver.libraries[0].path == "/usr/lib/wsl/lib/libcuda.so.1"
        assert found.driver.libraries[0].rule == "ld.so.cache"


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_containers_are_told_by_their_marks(tmp_path: Path, kind: str) -> None:
    assert read(make_root(tmp_path, container=kind)).platform.container == kind


def test_variables_of_a_container_are_those_of_its_first_process(tmp_path: Path) -> None:
    root = make_root(tmp_path, container="docker")
    environ = b"PATH=/opt/conda/bin:/usr/bin\0NVIDIA_VISIBLE_DEVICES=void\0HF_TOKEN=hf_x\0"
    write(root, "/proc/1/environ", environ)
    found = take(root=str(root)).environment
    assert found["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "HF_TOKEN" not in found


def test_the_callers_own_variables_say_nothing_about_another_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    found = take(root=str(make_root(tmp_path)))
    assert "CUDA_VISIBLE_DEVICES" not in found.environment
    assert found.loader.ld_library_path == ()


def test_misspelled_variables_are_kept_and_secrets_are_not(tmp_path: Path) -> None:
    env = {"CUDA_VISABLE_DEVICES": "0", "HF_TOKEN": "x", "UV_INDEX_A_PASSWORD": "y", "EDITOR": "vi"}
    found = read(make_root(tmp_path), env=env).environment
    assert found["CUDA_VISABLE_DEVICES"] == "0"
    assert not set(found) & {"HF_TOKEN", "UV_INDEX_A_PASSWORD", "EDITOR"}


@pytest.mark.parametrize("state", [True, False, None])
def test_secure_boot_is_the_last_byte_of_its_variable(tmp_path: Path, state: bool | None) -> None:
    assert read(make_root(tmp_path, secure_boot=state)).platform.secure_boot is state


def test_fabric_manager_is_looked_for_only_beside_nvswitches(tmp_path: Path) -> None:
    one = make_root(
        tmp_path / "one",
        gpus=["H100"],
        driver="570.133.20",
        nvswitch=True,
        fabric_manager="570.124.06",
    )
    found = read(one).driver
    assert (found.nvswitch, found.fabric_manager_running) == (True, True)
    assert found.fabric_manager_version == "570.124.06"
    two = make_root(tmp_path / "two", gpus=["H100"], driver="570.133.20", nvswitch=True)
    assert read(two).driver.fabric_manager_running is False
    three = make_root(tmp_path / "three", gpus=["H100"], driver="570.133.20")
    assert read(three).driver.fabric_manager_running is None


def test_packages_of_the_driver_come_from_dpkgs_database(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05")
    add_dpkg(root, "nvidia-driver-580-open", "580.95.05-0ubuntu1")
    add_dpkg(root, "nvidia-driver-535", "535.1", status="deinstall ok config-files")
    add_dpkg(root, "bash", "5.2")
    assert read(root).driver.driver_packages == ("nvidia-driver-580-open 580.95.05-0ubuntu1",)


def test_packages_of_the_driver_come_from_rpms_database(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05", distro="fedora")
    values = [(1000, b"nvidia-driver\0"), (1001, b"580.95.05\0"), (1002, b"1.fc41\0")]
    index, data = b"", b""
    for tag, value in values:
        index += struct.pack(">IIII", tag, 6, len(data), 1)
        data += value
    path = root / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
    database.execute("CREATE TABLE Name (key TEXT, hnum INTEGER, idx INTEGER)")
    blob = struct.pack(">II", len(values), len(data)) + index + data
    database.execute("INSERT INTO Packages VALUES (1, ?)", (blob,))
    database.execute("INSERT INTO Name VALUES ('nvidia-driver', 1, 0)")
    database.commit()
    database.close()
    assert read(root).driver.driver_packages == ("nvidia-driver 580.95.05-1.fc41",)


def test_a_database_of_rpm_that_lies_about_a_length_leaves_the_rest(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05", distro="fedora")
    add_dpkg(root, "nvidia-driver-580-open", "580.95.05-0ubuntu1")
    path = root / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.execute("CREATE TABLE Name (key TEXT, hnum INTEGER, idx INTEGER)")
    database.close()
    content = bytearray(path.read_bytes())
    (cell,) = struct.unpack_from(">H", content, 108)  # the schema's first row
    content[cell : cell + 9] = b"\xff" * 9  # its length, of which SQLite asks for the memory
    path.write_bytes(content)
    found = read(root)
    (outcome,) = [outcome for outcome in found.readers if outcome.name == "driver-packages"]
    assert "rpmdb.sqlite" in outcome.reason
    assert found.driver.driver_packages == ("nvidia-driver-580-open 580.95.05-0ubuntu1",)


def test_the_kernels_own_words_are_kept(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 5090"], driver="570.86.16")
    lines = [
        "[1.0] usb 1-1: new device",
        "[2.0] NVRM: The NVIDIA GPU 0000:01:00.0 requires use of the NVIDIA open kernel modules.",
        "[3.0] NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus.",
    ]
    write(root, "/var/log/dmesg", "\n".join(lines))
    found = read(root).driver
    assert found.xid_messages == ("Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus.",)
    assert any("requires use of the NVIDIA open" in line for line in found.kernel_messages)


def test_toolkits_say_who_points_at_them(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    home = "/usr/local/cuda-12.4"
    components = {"cuda": {"version": "12.4.1"}, "cuda_nvcc": {"version": "12.4.131"}}
    write(root, f"{home}/version.json", json.dumps(components))
    write(root, f"{home}/bin/nvcc", b"\x7fELF").chmod(0o755)
    bound = "#error -- unsupported GNU version! gcc versions later than 13 are not supported!"
    write(root, f"{home}/include/crt/host_config.h", bound)
    link(root, "/usr/local/cuda", home)
    write(root, "/usr/local/cuda-10.0/version.txt", "CUDA Version 10.0.130\n")
    found = read(root, env={"CUDA_HOME": "/opt/gone", "CUDA_PATH": home})
    by_path = {toolkit.path: toolkit for toolkit in found.toolkits}
    assert by_path["/opt/gone"].exists is False
    new = by_path[home]
    assert (new.version, new.nvcc_version, new.host_gcc_max) == ("12.4.1", "12.4.131", 13)
    assert set(new.found_by) == {"CUDA_PATH", "PATH", "/usr/local"}
    assert by_path["/usr/local/cuda-10.0"].version == "10.0.130"


def test_docker_and_its_runtimes(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root, "/usr/bin/docker").chmod(0o755)
    write(root, "/usr/bin/nvidia-ctk").chmod(0o755)
    write(root, "/etc/docker/daemon.json", '{"runtimes": {"nvidia": {"path": "x"}}}')
    found = read(root).platform
    assert found.docker_present and found.nvidia_container_toolkit
    assert found.docker_runtimes == ("nvidia",)
    assert found.docker_is_snap is False


def test_a_broken_daemon_json_is_named(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root, "/etc/docker/daemon.json", "{")
    reader = read(root).reader("container")
    assert reader and "/etc/docker/daemon.json" in reader.reason


def test_a_cut_cache_is_named_and_the_defaults_still_searched(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05")
    write(root, "/etc/ld.so.cache", b"glibc-ld.so.cache1.1\xff\xff")
    found = read(root)
    assert found.driver.libraries[0].rule == "default"
    reader = found.reader("loader")
    assert reader and "/etc/ld.so.cache" in reader.reason


def test_plans_are_named_by_their_headers(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    known = b"ftrt" + bytes(20) + bytes([10, 6, 0, 26]) + bytes(100)
    write(root, "/project/a.plan", known)
    write(root, "/project/b.engine", b"vtrt" + known[4:])
    write(root, "/project/c.trt", b"ft")
    write(root, "/project/d.onnx", known)
    found = {plan.path: plan for plan in read(root, cwd="/project").plans}
    assert (found["/project/a.plan"].tag, found["/project/a.plan"].version) == ("ftrt", "10.6.0.26")
    assert found["/project/a.plan"].size == 128
    assert (found["/project/b.engine"].tag, found["/project/b.engine"].version) == ("vtrt", None)
    assert found["/project/c.trt"].version is None
    assert "/project/d.onnx" not in found


def test_shared_memory_is_read_from_the_recorded_mounts(tmp_path: Path) -> None:
    root = make_root(tmp_path, container="docker")
    write(root, "/proc/mounts", "shm /dev/shm tmpfs rw,nosuid,size=65536k,inode64 0 0\n")
    assert read(root).platform.shm_bytes == 64 << 20


def test_toolkits_on_ld_library_path_are_told_apart(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    for version, number in (("11.8", "11.0"), ("12.4", "12")):
        home = f"/usr/local/cuda-{version}"
        write(root, f"{home}/version.json", f'{{"cuda": {{"version": "{version}.1"}}}}')
        write(root, f"{home}/targets/x86_64-linux/lib/libcudart.so.{version}.99")
        link(root, f"{home}/targets/x86_64-linux/lib/libcudart.so", f"libcudart.so.{version}.99")
        link(root, f"{home}/targets/x86_64-linux/lib/libcudart.so.{number}", "libcudart.so")
        link(root, f"{home}/lib64", "targets/x86_64-linux/lib")
    link(root, "/usr/local/cuda", "cuda-12.4")
    write(root, "/opt/bare/libcudart.so.12.8.90")
    link(root, "/opt/bare/libcudart.so.12", "libcudart.so.12.8.90")
    write(root, "/opt/cudnn/lib/libcudnn.so.9")
    entries = ["/usr/local/cuda-11.8/lib64", "/opt/cudnn/lib", "/usr/local/cuda/lib64", "/nowhere",
               "/usr/local/cuda-12.4/lib64/", "/opt/bare"]  # fmt: skip
    found = take(root=str(root), env={"LD_LIBRARY_PATH": ":".join(entries)}).loader.cuda_folders
    assert [(item.entry, item.version) for item in found] == [
        ("/usr/local/cuda-11.8/lib64", "11.8.1"), ("/usr/local/cuda/lib64", "12.4.1"),
        ("/opt/bare", "12.8.90"),
    ]  # fmt: skip
    assert found[0].names == ("libcudart.so", "libcudart.so.11.0")
    assert found[1].path == "/usr/local/cuda-12.4/targets/x86_64-linux/lib"
