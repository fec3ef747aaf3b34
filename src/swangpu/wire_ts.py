"""TypeScript types of what goes over the wire, generated from ``wire/``.

    python -m swangpu.wire_ts --write    write labextension/src/_wire.ts
    python -m swangpu.wire_ts --check    exit 1 when the committed file differs

Structs become interfaces in the order of ``wire.__all__``; a field that has a default becomes optional.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import msgspec
from msgspec import inspect as mi

from . import wire

__all__ = ["main", "typescript"]

TARGET = Path(__file__).resolve().parents[2] / "labextension" / "src" / "_wire.ts"
HEADER = "// Generated from src/swangpu/wire by `python -m swangpu.wire_ts --write`. Do not edit.\n"

_PLAIN = {
    mi.AnyType: "unknown",
    mi.NoneType: "null",
    mi.BoolType: "boolean",
    mi.IntType: "number",
    mi.FloatType: "number",
    mi.StrType: "string",
}


def typescript() -> str:
    """The whole file."""
    structs = [getattr(wire, name) for name in wire.__all__]
    structs = [s for s in structs if isinstance(s, type) and issubclass(s, msgspec.Struct)]
    return HEADER + "".join(f"\n{_interface(struct)}" for struct in structs)


def _interface(struct: type[msgspec.Struct]) -> str:
    described = mi.type_info(struct)
    if not isinstance(described, mi.StructType):
        raise TypeError(struct)
    summary = inspect.cleandoc(struct.__doc__ or "").split("\n")[0].replace("``", "`")
    comment = f"/** {summary} */\n" if summary and not summary.startswith(f"{struct.__name__}(") else ""
    if not described.fields:
        return f"{comment}export type {struct.__name__} = Record<string, never>;\n"
    fields = "".join(
        f"  {field.encode_name}{'' if field.required else '?'}: {_type(field.type)};\n" for field in described.fields
    )
    return f"{comment}export interface {struct.__name__} {{\n{fields}}}\n"


def _type(type_: mi.Type) -> str:
    if isinstance(type_, mi.Metadata):
        return _type(type_.type)
    if isinstance(type_, mi.StructType):
        return type_.cls.__name__
    if isinstance(type_, mi.LiteralType):
        return " | ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in type_.values)
    if isinstance(type_, mi.UnionType):
        return " | ".join(_type(part) for part in type_.types)
    if isinstance(type_, mi.ListType):
        item = _type(type_.item_type)
        return f"({item})[]" if " | " in item else f"{item}[]"
    if isinstance(type_, mi.DictType):
        return f"Record<string, {_type(type_.value_type)}>"
    plain = _PLAIN.get(type(type_))
    if plain is None:
        raise TypeError(f"wire_ts.py does not know {type_!r}: add it")
    return plain


def main(arguments: list[str]) -> int:
    made = typescript()
    if arguments == ["--write"]:
        TARGET.write_text(made, encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == made:
            return 0
        print(f"{TARGET.name} is not what wire/ says: run `python -m swangpu.wire_ts --write`", file=sys.stderr)
        return 1
    print(made, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
