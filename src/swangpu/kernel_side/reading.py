"""What a cell reads of the notebook's variables, found in its code without running it.

A name counts as read when it may be looked up before the cell has surely set it. Functions and classes that the cell
defines are looked through as a whole: what they need is asked for when they are called.
"""

from __future__ import annotations

import ast
import dis
import re
import types
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Reading", "Refusal", "globals_of", "is_theirs", "read"]

#: magics that do beside a GPU what they do in the notebook
MAGICS = ("time", "timeit", "matplotlib")
#: names that IPython keeps: those of the companion are its own
_IPYTHONS = re.compile(r"_+|_i+|_i?\d+|_[iod]h|_dh|_exit_code|In|Out|exit|quit|open|get_ipython|__\w*")
_WORD = re.compile(r"[^\W\d]\w*")
_LOADS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL", "DELETE_GLOBAL")


@dataclass(frozen=True)
class Refusal:
    """Why a cell can't run beside a GPU: one sentence, and what helps."""

    detail: str
    hint: str


@dataclass(frozen=True)
class Reading:
    """What a cell does with the notebook's names.

    Attributes
    ----------
    reads : frozenset of str
        Looked up before the cell has surely set them.
    binds : frozenset of str
        Set somewhere in it.
    deletes : frozenset of str
        Deleted, and otherwise not read.
    mentions : frozenset of str
        Words in the text of magics and shell commands, which may be names.
    refusal : Refusal or None
    """

    reads: frozenset[str]
    binds: frozenset[str]
    deletes: frozenset[str]
    mentions: frozenset[str]
    refusal: Refusal | None


def is_theirs(name: str) -> bool:
    """Whether a name is the person's, and not one that IPython keeps."""
    return _IPYTHONS.fullmatch(name) is None


def read(source: str, known: Collection[str] = ()) -> Reading:
    """Read a cell's code, as IPython has transformed it.

    Parameters
    ----------
    source : str
    known : collection of str
        The names of the notebook's variables.

    Raises
    ------
    SyntaxError
    """
    tree = ast.parse(source, "the cell")
    flow = _Flow()
    flow.run(tree.body)
    magics = list(_magics(tree))
    texts = [text for _, _, text in magics]
    mentions = {word for text in texts for word in _WORD.findall(text)}
    reads = frozenset(filter(is_theirs, flow.reads))
    return Reading(
        reads=reads,
        binds=frozenset(filter(is_theirs, flow.binds)),
        deletes=frozenset(filter(is_theirs, flow.deletes - flow.reads)),
        mentions=frozenset(filter(is_theirs, mentions)) - reads,
        refusal=_await(tree) or _magic(magics) or _input(tree, {*known, *flow.binds}),
    )


def globals_of(code: types.CodeType) -> set[str]:
    """The global names that a piece of code, and what is defined in it, looks up or sets."""
    found: set[str] = set()
    own: set[str] = set()
    for instruction in dis.get_instructions(code):
        name = str(instruction.argval)
        # in the body of a class, `x = x` reads the global one first
        if instruction.opname in _LOADS and name not in own:
            found.add(name)
        elif instruction.opname == "STORE_NAME":
            own.add(name)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= globals_of(constant)
    return found


# -- what must not be in it ---------------------------------------------------------------------------


def _await(tree: ast.Module) -> Refusal | None:
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    for node in _at_the_top(tree):
        if isinstance(node, waits) or any(one.is_async for one in getattr(node, "generators", ())):
            return Refusal(
                "A cell beside a GPU can't wait with `await` at its top level.",
                "Put it into a function: `async def main(): ...`, and then `asyncio.run(main())`.",
            )
    return None


def _at_the_top(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes that are not inside of a function."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _at_the_top(node)


def _magics(tree: ast.Module) -> Iterable[tuple[str, str, str]]:
    """What IPython has made of magics and shell commands: the call, the magic's name, the text."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        maker = node.func.value
        if not (isinstance(maker, ast.Call) and isinstance(maker.func, ast.Name) and maker.func.id == "get_ipython"):
            continue
        words = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if node.func.attr in ("run_line_magic", "run_cell_magic") and words:
            yield node.func.attr, words[0], " ".join(words[1:])
        elif node.func.attr in ("system", "getoutput"):
            yield node.func.attr, "", " ".join(words)


def _magic(magics: Iterable[tuple[str, str, str]]) -> Refusal | None:
    for call, name, _ in magics:
        if call == "run_cell_magic":
            return Refusal(
                f"`%%{name}` can't be below `%%gpu`.",
                "Give it a cell of its own. How long a cell takes, `%%gpu --profile` says too.",
            )
        if call == "run_line_magic" and name not in MAGICS:
            there = ", ".join(f"`%{one}`" for one in MAGICS)
            return Refusal(
                f"`%{name}` belongs to the notebook, and this cell runs in a process beside a GPU.",
                f"Put it into a cell of its own. What works there: {there} and `!commands`.",
            )
    return None


def _input(tree: ast.Module, known: Collection[str]) -> Refusal | None:
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    if "input" in named and "input" not in known:
        return Refusal("A cell beside a GPU can't ask with `input()`.", "Ask in a cell before it, into a variable.")
    return None


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [one for one in named if one is not None]


# -- what is read before it is set --------------------------------------------------------------------


class _Flow(ast.NodeVisitor):
    """Goes through the statements in their order. What may not have run has set nothing for sure."""

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self.deletes: set[str] = set()
        self._set: set[str] = set()
        #: variables of comprehensions and lambdas that we are in
        self._local: list[set[str]] = []

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    def _look_up(self, names: Iterable[str]) -> None:
        self.reads.update(
            name for name in names if name not in self._set and not any(name in one for one in self._local)
        )

    def _bind(self, name: str) -> None:
        self.binds.add(name)
        self._set.add(name)

    def _branch(self, *parts: ast.AST | None) -> set[str]:
        """What is surely set after these, for one way through them; the way itself is left again."""
        before, self._set = self._set, set(self._set)
        for part in parts:
            if part is not None:
                self.visit(part)
        after, self._set = self._set, before
        return after

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._look_up([node.id])
        elif isinstance(node.ctx, ast.Del):
            if node.id not in self._set:
                self.deletes.add(node.id)
            self._set.discard(node.id)
        elif self._local and node.id in self._local[-1]:
            return
        else:
            self._bind(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._look_up([node.target.id])
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._bind(node.target.id)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._set = self._branch(*node.body) & self._branch(*node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._branch(node.target, *node.body)
        self._branch(*node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._branch(*node.body)
        self._branch(*node.orelse)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item)
        # what the body raises may be swallowed, so that it has ended anywhere
        self._branch(*node.body)

    def visit_Try(self, node: Any) -> None:
        self._branch(*node.body, *node.orelse)
        for handler in node.handlers:
            self._branch(handler)
        self.run(node.finalbody)

    visit_TryStar = visit_Try

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        if node.name is not None:
            self._bind(node.name)
        self.run(node.body)

    def visit_Match(self, node: Any) -> None:
        self.visit(node.subject)
        for case in node.cases:
            self._branch(case.pattern, case.guard, *case.body)

    def generic_visit(self, node: ast.AST) -> None:
        # patterns of `match` hold what they bind as plain text
        for field in ("name", "rest"):
            name = getattr(node, field, None)
            if type(node).__name__.startswith("Match") and isinstance(name, str):
                self._bind(name)
        super().generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name != "*":
                self._bind((alias.asname or alias.name).partition(".")[0])

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: Any) -> None:
        arguments = getattr(node, "args", None)
        if arguments is None:
            at_once = [*node.bases, *node.keywords]
        else:
            notes = [one.annotation for one in _parameters(arguments)]
            at_once = [*arguments.defaults, *arguments.kw_defaults, *notes, node.returns]
        for part in (*node.decorator_list, *at_once):
            if part is not None:
                self.visit(part)
        # a function may call itself
        self._bind(node.name)
        # the compiler knows which names in it are its own
        whole = compile(ast.Module([node], []), "<cell>", "exec", dont_inherit=True)
        for code in whole.co_consts:
            if isinstance(code, types.CodeType):
                self._look_up(globals_of(code))

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        self._local.append({one.arg for one in _parameters(arguments)})
        self.visit(node.body)
        self._local.pop()

    def visit_ListComp(self, node: Any) -> None:
        self.visit(node.generators[0].iter)
        targets = [one.id for g in node.generators for one in ast.walk(g.target) if isinstance(one, ast.Name)]
        self._local.append(set(targets))
        for number, generator in enumerate(node.generators):
            if number:
                self.visit(generator.iter)
            for condition in generator.ifs:
                self.visit(condition)
        for part in (getattr(node, name, None) for name in ("elt", "key", "value")):
            if part is not None:
                self.visit(part)
        self._local.pop()

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp
