"""An eBPF assembler and loader over bpf(2): no compiler, no libbpf, because a node has neither.

    code = Assembler()
    code.mov("r0", 0)
    code.jump("jeq", "r1", 0, "end")     # labels are resolved by assemble()
    code.label("end")
    code.exit()
    program = load(SCHED_CLS, code.assemble(), "name")

Instruction encoding: Documentation/bpf/standardization/instruction-set.rst; attribute layouts: linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from chaos.agent.shaper.kernel import libc

SYSCALL = {"x86_64": 321, "aarch64": 280}
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, PROG_LOAD, LINK_CREATE = 0, 1, 2, 3, 5, 28
HASH, ARRAY = 1, 2  # map types
SOCKET_FILTER, SCHED_CLS = 1, 3  # program types
TCX_INGRESS, TCX_EGRESS = 46, 47  # attach types, since Linux 6.6

# helper functions
MAP_LOOKUP_ELEM, REDIRECT, SKB_LOAD_BYTES = 1, 23, 26
REDIRECT_INGRESS = 1
TCX_NEXT, TC_ACT_SHOT = -1, 2
# offsets in struct __sk_buff
SKB_MARK, SKB_QUEUE, SKB_PROTOCOL = 8, 12, 16

ALU = {"add": 0x0, "or": 0x4, "and": 0x5, "lsh": 0x6, "rsh": 0x7, "mov": 0xB}
JUMP = {"ja": 0x0, "jeq": 0x1, "jne": 0x5}
SIZE = {"w": 0x00, "dw": 0x18}
WORD_MAX = 1 << 32


def _bpf(command: int, attributes: bytes) -> int:
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(f"bpf: its system call number on {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(number, command, buffer, len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf command {command}: {os.strerror(error)}")
    return result


class Map:
    """A kernel map with keys and values of fixed size in bytes; it lives as long as its descriptor or a program."""

    __slots__ = ("_key_size", "_value_size", "fd")

    def __init__(self, kind: int, *, key_size: int, value_size: int, entries: int) -> None:
        self._key_size, self._value_size = key_size, value_size
        head = struct.pack("<IIIII", kind, key_size, value_size, entries, 0)
        self.fd = _bpf(MAP_CREATE, head + bytes(8) + b"chaosgate".ljust(16, b"\0") + bytes(36))

    def update(self, key: bytes, value: bytes) -> None:
        """Set an entry."""
        self._call(MAP_UPDATE, key, ctypes.create_string_buffer(value, self._value_size))

    def lookup(self, key: bytes) -> bytes:
        """Return an entry's value; FileNotFoundError if there is none."""
        value = ctypes.create_string_buffer(self._value_size)
        self._call(MAP_LOOKUP, key, value)
        return value.raw

    def delete(self, key: bytes) -> None:
        """Remove an entry; FileNotFoundError if there is none."""
        self._call(MAP_DELETE, key, None)

    def _call(self, command: int, key: bytes, value: ctypes.Array[ctypes.c_char] | None) -> None:
        held = ctypes.create_string_buffer(key, self._key_size)
        at = ctypes.addressof(value) if value is not None else 0
        _bpf(command, struct.pack("<IIQQQ", self.fd, 0, ctypes.addressof(held), at, 0))


def load(kind: int, code: bytes, name: str) -> int:
    """Load a program and return its descriptor; OSError with the verifier's last words if it is refused."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 18)
    held = [len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)]
    label = name.encode()[:15]
    try:
        return _bpf(PROG_LOAD, struct.pack("<IIQQIIQII16s72x", kind, *held, 0, 0, 0, 0, 0, label))
    except OSError as error:  # once more, with the verifier's log
        logged = (1, len(log), ctypes.addressof(log))
        try:
            return _bpf(PROG_LOAD, struct.pack("<IIQQIIQII16s72x", kind, *held, *logged, 0, 0, label))
        except OSError:
            raise OSError(error.errno, f"program {name} refused: {log.value.decode()[-800:].strip()}") from error


def attach(program: int, ifindex: int, where: int) -> int:
    """Hang a program on a link of the current namespace; it is detached when the returned descriptor is closed."""
    return _bpf(LINK_CREATE, struct.pack("<IIII48x", program, ifindex, where, 0))


class Assembler:
    """Instructions in order; registers are "r0" to "r10", operands registers or numbers."""

    def __init__(self) -> None:
        self._instructions: list[list[int]] = []
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def assemble(self) -> bytes:
        """Resolve the labels and return the code; KeyError for a label that is nowhere."""
        for at, label in self._jumps:
            self._instructions[at][2] = self._labels[label] - at - 1
        return b"".join(struct.pack("<BBhi", *instruction) for instruction in self._instructions)

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self._labels[name] = len(self._instructions)

    def alu(self, name: str, to: str, operand: str | int) -> None:
        """Set `to` to `to <name> operand`, in 64 bits."""
        self._with_operand(ALU[name] << 4 | 0x07, to, operand, 0)

    def mov(self, to: str, operand: str | int) -> None:
        """Set `to` to an operand."""
        self.alu("mov", to, operand)

    def jump(self, name: str, register: str, operand: str | int, label: str) -> None:
        """Go to `label` if the comparison of the low 32 bits holds."""
        self._jumps.append((len(self._instructions), label))
        self._with_operand(JUMP[name] << 4 | 0x06, register, operand, 0)

    def jump_null(self, register: str, label: str) -> None:
        """Go to `label` if the pointer is null (64 bits, as the verifier demands)."""
        self._jumps.append((len(self._instructions), label))
        self._with_operand(JUMP["jeq"] << 4 | 0x05, register, 0, 0)

    def go(self, label: str) -> None:
        """Go to `label`."""
        self._jumps.append((len(self._instructions), label))
        self._emit(0x05, 0, 0, 0, 0)

    def read(self, size: str, to: str, base: str, offset: int) -> None:
        """Set `to` to *(base + offset)."""
        self._emit(0x61 | SIZE[size], _number(to), _number(base), offset, 0)

    def write(self, size: str, base: str, offset: int, register: str) -> None:
        """Set *(base + offset) to a register."""
        self._emit(0x63 | SIZE[size], _number(base), _number(register), offset, 0)

    def add_atomically(self, base: str, offset: int, register: str) -> None:
        """Add a register to *(u64 *)(base + offset)."""
        self._emit(0xC3 | SIZE["dw"], _number(base), _number(register), offset, 0)

    def address_of(self, to: str, held: Map) -> None:
        """Set `to` to a map, for a helper."""
        self._emit(0x18, _number(to), 1, 0, held.fd)
        self._emit(0, 0, 0, 0, 0)

    def call(self, helper: int) -> None:
        """Set r0 to helper(r1 … r5)."""
        self._emit(0x85, 0, 0, 0, helper)

    def exit(self, code: str | int | None = None) -> None:
        """Return r0, or `code`."""
        if code is not None:
            self.mov("r0", code)
        self._emit(0x95, 0, 0, 0, 0)

    def _with_operand(self, opcode: int, to: str, operand: str | int, offset: int) -> None:
        if isinstance(operand, str):
            self._emit(opcode | 0x08, _number(to), _number(operand), offset, 0)
        else:
            self._emit(opcode, _number(to), 0, offset, operand)

    def _emit(self, opcode: int, to: int, source: int, offset: int, immediate: int) -> None:
        signed = immediate - WORD_MAX if immediate >= WORD_MAX // 2 else immediate
        self._instructions.append([opcode, to | source << 4, offset, signed])


def _number(register: str) -> int:
    return int(register[1:])
