from __future__ import annotations

import ast
from pathlib import Path

import lesionlab.measure.ibsi as room

FILES = sorted(Path(next(iter(room.__path__))).glob("*.py"))


def compiled(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions of a file that numba compiles."""
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(d) for d in node.decorator_list)
    }


def test_compiled_functions_call_none_of_another_file():
    """A compiled function is kept until its own file changes; so what it calls has to stand there too."""
    trees = {file: ast.parse(file.read_text()) for file in FILES}
    everywhere = {name: file for file, tree in trees.items() for name in compiled(tree)}
    assert len(everywhere) > 30
    for file, tree in trees.items():
        imported = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for name, function in compiled(tree).items():
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            foreign = {imported[u] for u in used if u in imported and imported[u] in everywhere}
            assert not foreign, f"{file.name}: {name} calls {foreign} of {everywhere[min(foreign)].name}"
