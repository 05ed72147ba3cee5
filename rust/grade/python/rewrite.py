"""How the official runner rewrites a program that reads standard input, before it compiles it.

Most programs come with the result, computed faster (``official/wrap.rs`` of the crate ``opsd-grade``; it must mean
what comes out here); the others are rewritten in their own process.
"""

import ast
import contextlib


def without_guard(code):
    """Replaces a last statement ``if __name__ == '__main__':`` by its body, without its else-branch. Also returns the
    source's tree if nothing was replaced, which saves parsing it again."""
    tree = None
    with contextlib.suppress(BaseException):
        tree = ast.parse(code)
        last = tree.body[-1]
        if isinstance(last, ast.If) and ast.unparse(last.test).strip() == "__name__ == '__main__'":
            return ast.unparse(tree.body[:-1]) + "\n" + ast.unparse(last.body), None
    return code, tree


def as_function(code, tree):
    """Top-level imports first, all the rest in a function without arguments. None: it cannot be rewritten."""
    try:
        imports, rest = [], []
        for statement in (tree or ast.parse(code)).body:
            (imports if isinstance(statement, (ast.Import, ast.ImportFrom)) else rest).append(statement)
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        function = ast.FunctionDef(
            name="wrapped_function", args=nothing, body=rest, decorator_list=[], lineno=-1
        )
        return ast.unparse(imports) + "\n" + ast.unparse(function)
    except Exception:
        return None
