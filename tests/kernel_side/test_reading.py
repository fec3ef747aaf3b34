"""What a cell reads: nothing that it needs is missed, and what it sets itself first is not asked for."""

from __future__ import annotations

import builtins

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from swangpu.kernel_side.reading import Reading, is_theirs, read


def of(cell: str, known: tuple[str, ...] = ()) -> Reading:
    return read(TransformerManager().transform_cell(cell), known)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("y = x + 1", "x"),
        ("x = 1\ny = x", ""),
        ("x += 1", "x"),
        ("x.append(y)", "x y"),
        ("a[i] = b", "a i b"),
        ("a, (b, *c) = d\na, b, c", "d"),
        ("if t:\n    x = 1\nx", "t x"),
        ("if t:\n    x = 1\nelse:\n    x = 2\nx", "t"),
        ("for i in r:\n    s = i\ni, s", "r i s"),
        ("while t:\n    x = 1\nx", "t x"),
        ("with open(p) as f:\n    f.read()", "p"),
        ("try:\n    x = 1\nexcept E as e:\n    e, x\nx", "E x"),
        ("try:\n    pass\nfinally:\n    x = 1\nx", ""),
        ("def f(a, b=c, *d, e: g = h, **k):\n    return a + b + j + m\nf", "c g h j m"),
        ("def f():\n    f()", ""),
        ("class A(B, metaclass=M):\n    z = w\n    def f(self):\n        return q + self.z\nA", "B M w q"),
        ("class A:\n    lr = lr\n    n = 1\n    m = n", "lr"),
        ("@deco\nasync def f():\n    await g()", "deco g"),
        ("lambda a, *b, c=d: a + b + c + e", "d e"),
        ("[a + k for a in s if a > t]", "k s t"),
        ("{a: b for a, b in s for c in a}", "s"),
        ("sum(a for a in (b for b in s))", "s"),
        ("(n := m)\nn", "m"),
        ("[n := a for a in s]\nn", "s"),
        ("import numpy.linalg as la, os.path\nla, os", ""),
        ("from x import y as z\nz", ""),
        ("match p:\n    case [a, *rest] if g:\n        a, rest\n    case {'k': v, **more}:\n        v, more", "p g"),
        ("print(f'{x!r:>{w}}')", "x w"),
        ("x: int = 1\nx", ""),
        ("x: T", "T"),
        ("global g\ng = 1\ng", ""),
        ("def f():\n    global n\n    n += 1", "n"),
        ("_private, __name__, In, _5, get_ipython", "_private"),
    ],
)
def test_names_that_may_be_looked_up_before_they_are_set(code: str, reads: str) -> None:
    found = {name for name in of(code).reads if not hasattr(builtins, name)}
    assert found == set(reads.split())


def test_deleting_a_name_does_not_read_it() -> None:
    found = of("del x\ny = 1\ndel y\nz\ndel z")
    assert (found.deletes, found.reads) == ({"x"}, {"z"})


def test_words_of_magics_and_commands_may_be_names() -> None:
    found = of("%timeit f(x)\n!echo {y} $z\nfiles = !ls {folder}\n%time w = v")
    assert {"f", "x", "y", "z", "folder", "v"} <= found.mentions
    assert found.refusal is None
    assert not found.reads & {"f", "x", "y", "z"}


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("await x", "await"),
        ("async for a in b: pass", "await"),
        ("async with a: pass", "await"),
        ("[a async for a in b]", "await"),
        ("%autoreload 2", "%autoreload"),
        ("x = %sql select", "%sql"),
        ("%%time\nx", "%%time"),
        ("?x", "%pinfo"),
        ("%gpu get 10GB", "%gpu"),
        ("x = input('name')", "input()"),
        ("def f():\n    return input()", "input()"),
    ],
)
def test_what_cannot_be_is_refused_by_name(cell: str, word: str) -> None:
    refusal = of(cell).refusal
    assert refusal is not None
    assert word in refusal.detail
    assert refusal.hint.endswith(".")


@pytest.mark.parametrize(
    ("cell", "known"),
    [
        ("async def f():\n    await x", ()),
        ("import asyncio\nasyncio.run(f())", ()),
        ("input = 3\ninput", ()),
        ("input", ("input",)),
        ("lambda: (yield)", ()),
        ("%matplotlib inline", ()),
    ],
)
def test_what_only_looks_like_it_is_not(cell: str, known: tuple[str, ...]) -> None:
    assert of(cell, known).refusal is None


NAMES = ["a", "b", "c"]
atoms = st.sampled_from([*NAMES, "1"])
targets = st.sampled_from(NAMES)
simple = st.one_of(
    st.builds("{} = {}".format, targets, atoms),
    st.builds("{} = [{}, {}]".format, targets, atoms, atoms),
    st.builds("{} = [{} for {} in [1]]".format, targets, atoms, targets),
    st.builds("{} = (lambda {}: {})(1)".format, targets, targets, atoms),
    st.builds("def {}(): return {}\n{}()".format, targets, atoms, targets),
    st.builds("({} := {})".format, targets, atoms),
)


def block(head: str, *bodies: str) -> str:
    return head.format(*("\n".join("    " + line for line in body.splitlines()) for body in bodies))


code = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("\n".join),
        st.builds(lambda body, other: block("if 0:\n{}\nelse:\n{}", body, other), inner, inner),
        st.builds(lambda body: block("for a in []:\n{}", body), inner),
        st.builds(lambda body, other: block("try:\n{}\nexcept TypeError:\n{}", body, other), inner, inner),
        st.builds(
            lambda body, other: block("try:\n    1 / 0\n{}\nexcept ZeroDivisionError as b:\n{}", body, other),
            inner,
            inner,
        ),
        st.builds(lambda body: block("with open('/dev/null') as c:\n{}", body), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(code)
def test_a_cell_runs_the_same_with_nothing_but_what_it_reads(cell: str) -> None:
    def outcome(names: set[str]) -> str:
        namespace = {name: (lambda: 0) for name in names}
        try:
            exec(compile(cell, "cell", "exec"), namespace)
        except Exception as error:
            return repr(error)
        return "ran"

    assert outcome(set(of(cell).reads) & set(NAMES)) == outcome(set(NAMES))


@pytest.mark.parametrize(
    "name", ["_", "__", "_i", "_iii", "_5", "_i5", "_ih", "_oh", "_dh", "In", "Out", "exit", "__doc__"]
)
def test_names_that_ipython_keeps_are_not_theirs(name: str) -> None:
    assert not is_theirs(name)


@pytest.mark.parametrize("name", ["x", "_x", "_hidden", "i", "In2", "_i_x"])
def test_names_of_a_person_are_theirs(name: str) -> None:
    assert is_theirs(name)
