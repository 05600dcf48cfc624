"""Nodes that a converter leaves untranslated, as every refusal lists them: all operators, each with its nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Of one operator; operators are named all.
_NODES = 5


@dataclass(frozen=True)
class Left:
    """One node. ``detail`` is which types it computes with, where others of its operator are translated."""

    operator: str
    node: str
    detail: str = ""


def listed(left: Iterable[Left]) -> str:
    """``Erfc (node 'a'), Mul of float64 (nodes 'b', 'c' and 3 more)``."""
    operators: dict[tuple[str, str], set[str]] = {}
    for each in left:
        operators.setdefault((each.operator, each.detail), set()).add(each.node)
    return ", ".join(_operator(*key, sorted(nodes - {""})) for key, nodes in sorted(operators.items()))


def _operator(operator: str, detail: str, nodes: list[str]) -> str:
    named = f"{operator} of {detail}" if detail else operator
    if not nodes:
        return named
    more = f" and {len(nodes) - _NODES} more" if len(nodes) > _NODES else ""
    return f"{named} (node{'s' if len(nodes) > 1 else ''} {', '.join(map(repr, nodes[:_NODES]))}{more})"
