"""Another kernel under the same tests: netem, which the machine at hand may lack, in a guest that always has it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import vm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITE = [
    "env",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
    sys.executable,
    *("-B", "-m", "pytest", "-q", "-c", "tests/vm/guest.ini", "--rootdir", ".", "-p", "no:cacheprovider"),
    *("--confcutdir", "tests/agent/shaper"),
]


@pytest.fixture(scope="module")
def guest():
    if missing := vm.missing_programs():
        pytest.fail(f"a guest needs: {missing}")
    return vm.set_up()


@pytest.mark.vm
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_command_runs_under_the_guests_kernel_and_its_exit_status_comes_back(guest):
    result = vm.run(guest, ["sh", "-c", "uname -r; exit 7"], timeout_s=100, folder=ROOT)
    assert result == vm.Result(status=7, output=f"{guest.release}\n")


@pytest.mark.vm
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_guest_cannot_write_to_this_machine(guest, tmp_path):
    result = vm.run(
        guest, ["sh", "-c", f"echo spoilt > {tmp_path}/file; cat {tmp_path}/file"], timeout_s=100, folder=ROOT
    )
    assert result.output == "spoilt\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.vm
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_guest_that_hangs_is_ended_and_says_what_it_said(guest):
    with pytest.raises(vm.VmError, match=r"did not finish within 60 s.*\nworking"):
        vm.run(guest, ["sh", "-c", "echo working; sleep 600"], timeout_s=60, folder=ROOT)


@pytest.mark.vm
@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_netem_passes_the_tests_that_the_other_backends_pass(guest):
    files = ["tests/agent/shaper/test_shaper_backends.py", "tests/agent/shaper/test_shaper_life.py"]
    result = vm.run(guest, [*SUITE, "-k", "netem", *files], timeout_s=900, folder=ROOT)
    assert result.status == 0, result.output
    assert int(re.search(r"(\d+) passed", result.output).group(1)) >= 25
    assert "skipped" not in result.output


def test_the_newest_kernel_of_the_preferred_line_is_a_name_apt_knows():
    assert re.fullmatch(vm.PREFERRED, "linux-image-6.12.117+deb12-amd64")
    assert not re.fullmatch(vm.PREFERRED, "linux-image-6.12.117+deb12-amd64-dbg")
    assert not re.fullmatch(vm.PREFERRED, "linux-image-6.12.117+deb12-rt-amd64")


def test_modules_come_after_those_that_they_depend_on(tmp_path):
    for name, depends in (("bridge", "stp,llc"), ("stp", "llc"), ("llc", ""), ("x-y", "bridge")):
        (tmp_path / f"{name}.ko").write_bytes(b"ELF\0depends=" + depends.encode() + b"\0")
    order = vm.ModuleOrder(tmp_path)
    assert list(order.add("x_y")) == ["llc", "stp", "bridge", "x_y"]
    assert list(order.add("bridge")) == []
    assert list(order.add("built_in")) == []


def test_an_unknown_kernel_compression_is_named():
    image = bytearray(4096)
    image[0x1F1] = 1
    image[0x248:0x250] = (0).to_bytes(4, "little") + (64).to_bytes(4, "little")
    with pytest.raises(vm.VmError, match="unknown way"):
        vm.vmlinux(bytes(image))
