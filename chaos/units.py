"""Text with a unit becomes a number once, here, at the edge; beyond it nobody sees a string.

    "1h30m" ─▶ 5400.0 s    "50k/s" ─▶ 50000.0 /s    "10Mbit/s" ─▶ 1e7 bit/s    "5%" ─▶ 0.05    "64KiB" ─▶ 65536 bytes

A number without its unit is refused: whoever writes `for: 8` may have thought of minutes. Every refusal names the
text that would have been right, as far as it can be guessed. Arithmetic is decimal, so that writing a value and
reading it again gives the same float. Decimal and binary size prefixes are those of IEC 80000-13.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from chaos.guess import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NUMBER = r"\d+(?:\.\d+)?"
_PAIR = re.compile(rf"({_NUMBER})([a-zµ]+)")
_LOOSE = re.compile(r"\s*([+-]?\d+(?:[.,]\d+)?)\s*(.*?)\s*")

_SECONDS: Mapping[str, Decimal] = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
_PREFIXES: Mapping[str, Decimal] = {"": Decimal(1), "k": Decimal(1000), "M": Decimal("1e6"), "G": Decimal("1e9")}
_RATES: Mapping[str, Decimal] = {f"{p}/s": f for p, f in _PREFIXES.items()}
_BIT_RATES: Mapping[str, Decimal] = {f"{p}bit/s": f for p, f in _PREFIXES.items()}
_SIZES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    **{f"{p}B": Decimal(1000) ** n for n, p in enumerate("kMGT", 1)},
    **{f"{p}iB": Decimal(1024) ** n for n, p in enumerate("KMGT", 1)},
}

# What people write, in lower case and without spaces → how it is written here.
_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("µs", "usec", "micros", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("nsec", "nanos", "nanosecond", "nanoseconds"), "ns"),
    **dict.fromkeys(("rps", "qps", "ops", "/sec", "/second", "persecond", "ops/s", "hz"), "/s"),
    **{f"{p}{word}": f"{P}bit/s" for p, P in zip("kmg", "kMG", strict=True) for word in ("bps", "bit", "bits/s")},
    **dict.fromkeys(("bps", "bit", "bits/s"), "bit/s"),
    **dict.fromkeys(("percent", "pct", "per cent"), "%"),
    **{word: f"{p.upper()}iB" for p in "kmgt" for word in (p, f"{p}ib")},
    **{f"{p}b": f"{P}B" for p, P in zip("kmgt", "kMGT", strict=True)},
    **dict.fromkeys(("byte", "bytes"), "B"),
}


def _plain(number: Decimal) -> str:
    """Write a decimal without an exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _guess(text: str, units: Mapping[str, Decimal], bare: str) -> str:
    """Return what the writer may have meant, or an empty text."""
    loose = _LOOSE.fullmatch(text)
    if not loose or loose[1].startswith("-"):
        return ""
    number, word = loose[1].lstrip("+").replace(",", "."), loose[2]
    squeezed = re.sub(r"\s+", "", word)
    exact = {u: u for u in units}
    folded = {u.lower(): u for u in units}
    unit = bare if not word else exact.get(squeezed) or _ALIASES.get(squeezed.lower()) or folded.get(squeezed.lower())
    if unit not in units:
        unit = nearest(squeezed, units)
    return f"{number}{unit}" if unit else ""


def _refusal(text: str, what: str, guess: str, example: str) -> ValueError:
    would = f"did you mean '{guess}'?" if guess else f"write e.g. {example}"
    if re.fullmatch(_NUMBER, text.strip()):
        return ValueError(f"'{text}' has no unit, and {what} needs one; write {guess or example}")
    return ValueError(f"'{text}' is not {what}; {would}")


def _scaled(text: str, units: Mapping[str, Decimal], what: str, bare: str, example: str) -> Decimal:
    """Read one number with one of `units`."""
    match = re.fullmatch(rf"({_NUMBER})(\D+)", text)
    if match and match[2] in units:
        return Decimal(match[1]) * units[match[2]]
    raise _refusal(text, what, _guess(text, units, bare), example)


# ---------------------------------------------------------------- durations


def parse_duration(text: str) -> float:
    """Return seconds of "1500ms", "2m", "1h30m"; ValueError says what would do."""
    pairs = _PAIR.findall(text)
    units = [unit for _, unit in pairs]
    ranks = [list(_SECONDS).index(unit) for unit in units if unit in _SECONDS]
    if not pairs or "".join(n + u for n, u in pairs) != text or len(ranks) != len(units):
        guess = _guess(text, _SECONDS, "s")
        or_less = f" or {guess.replace('s', 'ms')}" if re.fullmatch(_NUMBER, text.strip()) else ""
        raise _refusal(text, "a duration", guess + or_less, "500ms, 8s, 1h30m")
    if sorted(set(ranks)) != ranks:
        raise ValueError(f"'{text}' is not a duration; write the greater unit first and each once, e.g. 1h30m")
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in pairs))


def format_duration(seconds: float) -> str:
    """Write seconds so that `parse_duration` reads the same float; seconds ≥ 0."""
    exact = Decimal(repr(float(seconds)))
    if exact >= 60 and exact == int(exact):
        parts = zip((exact // 3600, exact % 3600 // 60, exact % 60), "hms", strict=True)
        return "".join(f"{int(number)}{unit}" for number, unit in parts if number)
    for unit in ("s", "ms", "us"):
        if exact >= _SECONDS[unit] or exact == 0:
            return f"{_plain(exact / _SECONDS[unit])}{unit}"
    return f"{_plain(exact / _SECONDS['ns'])}ns"


# ---------------------------------------------------------------- rates


def parse_rate(text: str) -> float:
    """Return operations a second of "800/s", "50k/s"; ValueError says what would do."""
    return float(_scaled(text, _RATES, "a rate", "/s", "800/s, 50k/s"))


def format_rate(per_s: float) -> str:
    """Write a rate so that `parse_rate` reads the same float."""
    return _prefixed(per_s, "/s")


def parse_bit_rate(text: str) -> float:
    """Return bits a second of "10Mbit/s"; ValueError says what would do, for bytes a second too."""
    in_bytes = re.fullmatch(rf"({_NUMBER})\s*([kKmMgG]?)B(?:/s|ps)", text)
    if in_bytes:
        prefix = {"K": "k", "m": "M", "g": "G"}.get(in_bytes[2], in_bytes[2])
        bits = float(Decimal(in_bytes[1]) * 8 * _PREFIXES[prefix])
        raise ValueError(f"'{text}' counts bytes, and links are counted in bits; write {format_bit_rate(bits)}")
    return float(_scaled(text, _BIT_RATES, "a bit rate", "bit/s", "10Mbit/s"))


def format_bit_rate(bit_s: float) -> str:
    """Write a bit rate so that `parse_bit_rate` reads the same float."""
    return _prefixed(bit_s, "bit/s")


def _prefixed(value: float, unit: str) -> str:
    exact = Decimal(repr(float(value)))
    prefix = next((p for p in "GMk" if exact >= _PREFIXES[p]), "")
    return f"{_plain(exact / _PREFIXES[prefix])}{prefix}{unit}"


# ---------------------------------------------------------------- shares and sizes


def parse_share(text: str) -> float:
    """Return the fraction, 0 to 1, of "5%"; ValueError says what would do."""
    if re.fullmatch(r"0?\.\d+|0|1|1\.0*", text.strip()):
        raise ValueError(f"'{text}' has no unit, and a share needs one; write {format_share(float(text))}")
    fraction = _scaled(text, {"%": Decimal("0.01")}, "a share", "%", "5%")
    if fraction > 1:
        raise ValueError(f"'{text}' is more than everything; write a share from 0% to 100%")
    return float(fraction)


def format_share(fraction: float) -> str:
    """Write a fraction so that `parse_share` reads the same float."""
    return f"{_plain(Decimal(repr(float(fraction))) * 100)}%"


def parse_size(text: str) -> int:
    """Return bytes of "64KiB" or "1GB", rounded to whole ones; ValueError says what would do."""
    return int(_scaled(text, _SIZES, "a size", "B", "64KiB, 1GB"))


def format_size(size: int) -> str:
    """Write bytes so that `parse_size` reads the same number."""
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
        if size and size % int(_SIZES[unit]) == 0:
            return f"{size // int(_SIZES[unit])}{unit}"
    return f"{size}B"


# ---------------------------------------------------------------- units as values, for the reader of settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How a field's text is read and written, and what an editor may know of it; also a mark in `Annotated`."""

    name: str
    parse: Callable[[str], float]
    format: Callable[[float], str]  # of what `parse` returns
    pattern: str  # a JSON schema's
    factor: float = 1.0  # of what `parse` returns, e.g. 1000 for a field in ms


DURATION = Unit(
    name="a duration such as 1500ms",
    parse=parse_duration,
    format=format_duration,
    pattern=r"^(\d+(\.\d+)?(h|m|s|ms|us|ns))+$",
)
RATE = Unit(name="a rate such as 800/s", parse=parse_rate, format=format_rate, pattern=r"^\d+(\.\d+)?[kMG]?/s$")
BIT_RATE = Unit(
    name="a bit rate such as 10Mbit/s",
    parse=parse_bit_rate,
    format=format_bit_rate,
    pattern=r"^\d+(\.\d+)?[kMG]?bit/s$",
)
SHARE = Unit(name="a share such as 5%", parse=parse_share, format=format_share, pattern=r"^\d+(\.\d+)?%$")
SIZE = Unit(
    name="a size such as 64KiB",
    parse=parse_size,
    format=lambda size: format_size(round(size)),
    pattern=r"^\d+(\.\d+)?([kMGT]|[KMGT]i)?B$",
)

Share = Annotated[float, SHARE]

_MILLISECONDS = replace(DURATION, factor=1e3)
_NANOSECONDS = replace(DURATION, factor=1e9)

# A field's suffix says its unit. The longer ones first: `floor_per_s` is a rate, not a duration.
SUFFIXES: Mapping[str, Unit] = {
    "_bit_s": BIT_RATE,
    "_per_s": RATE,
    "_bytes": SIZE,
    "_share": SHARE,
    "_ms": _MILLISECONDS,
    "_ns": _NANOSECONDS,
    "_s": DURATION,
}


def counted(number: int, noun: str) -> str:
    """Return "1 fault", "2 faults", "1,000 faults"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def split_name(field: str) -> tuple[str, Unit | None]:
    """Return a field's YAML key and its unit: "down_for_s" → ("down-for", DURATION), "from_" → ("from", None)."""
    for suffix, unit in SUFFIXES.items():
        if field.endswith(suffix) and field != suffix:
            return field.removesuffix(suffix).replace("_", "-"), unit
    return field.rstrip("_").replace("_", "-"), None
