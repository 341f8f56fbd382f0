"""Shape expressions of a `.pt2`, checked before sympy evaluates them.

`torch.export.load` hands each expression of the file (for instance `Symbol('s77', integer=True)`)
to `sympy.sympify`, which is Python's `eval`: `__import__('os').system(...)` runs, even with
TORCH_FORCE_WEIGHTS_ONLY_LOAD=1 (seen with torch 2.15). So each is parsed here without being
evaluated, compared with a small grammar, and written again from the parse.
"""

from __future__ import annotations

import ast
import re

_LONGEST = 2000
_LARGEST = 2**63
_SIGNS = re.compile(r"[A-Za-z0-9_ ,.()='+\-*/%<>]*")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_BARE_NAME = re.compile(r"(s|u|zf|zuf)[0-9]{1,9}|oo|int_oo|true|false")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{0,30})?(e[+-]?[0-9]{1,3})?")

# What sympy's srepr prints for shapes, and the functions that torch adds. Powers are apart:
# Pow(9, Pow(9, 9)) is legal and never ends.
_FUNCTIONS = re.compile(
    r"Add|Mul|Max|Min|Mod|Integer|Rational|Abs|Identity"
    r"|FloorDiv|CeilDiv|CleanDiv|PythonMod|ModularIndexing|Where"
    r"|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|ToFloat|IntTrueDiv|FloatTrueDiv"
    r"|Equality|Unequality|GreaterThan|LessThan|StrictGreaterThan|StrictLessThan"
    r"|Eq|Ne|Ge|Le|Gt|Lt|And|Or|Not"
)
_POWERS = ("Pow", "PowByNatural")
_LARGEST_EXPONENT = 4
_ASSUMPTIONS = re.compile(
    r"integer|real|finite|zero|nonzero|positive|negative|nonpositive|nonnegative"
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def clean_expression(text: str) -> str:
    """The same expression, written anew; raises ValueError where it is not plain arithmetic."""
    if len(text) > _LONGEST:
        raise ValueError(
            f"an expression must have at most {_LONGEST} characters, found {len(text)}"
        )
    if not _SIGNS.fullmatch(text):
        raise ValueError("an expression must be arithmetic on symbols")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        _check(tree.body)
        return ast.unparse(tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("an expression must be arithmetic on symbols") from error


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=int() | float() as number) if abs(number) <= _LARGEST:
            pass
        case ast.Name(id=name) if _BARE_NAME.fullmatch(name):
            pass
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand)
        case ast.BinOp(op=op, left=left, right=right) if isinstance(op, _OPERATORS):
            _check(left)
            _check(right)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARISONS):
            _check(left)
            _check(right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            _check_call(name, args, keywords)
        case _:
            raise ValueError(
                f"an expression must be arithmetic on symbols, found {ast.unparse(node)[:80]!r}"
            )


def _check_call(name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> None:
    """One function of the lists above, or `Symbol('s0', integer=True)`, `Float('0.5')`."""
    texts = [arg.value for arg in args if isinstance(arg, ast.Constant)]
    text = texts[0] if len(args) == len(texts) == 1 else None
    if name == "Symbol":
        if not (isinstance(text, str) and _SYMBOL.fullmatch(text)):
            raise ValueError("a symbol must have a plain name")
        for keyword in keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if not _ASSUMPTIONS.fullmatch(keyword.arg or "") or not isinstance(value, bool):
                raise ValueError(f"a symbol must have known assumptions, found {keyword.arg!r}")
        return
    if name == "Float":
        if not (isinstance(text, str) and _NUMBER.fullmatch(text)):
            raise ValueError("a number must be written in digits")
        for keyword in keywords:
            if keyword.arg not in {"precision", "dps"}:
                raise ValueError(f"a number must have a known precision, found {keyword.arg!r}")
            _check(keyword.value)
        return
    if keywords or not (_FUNCTIONS.fullmatch(name) or name in _POWERS):
        raise ValueError(f"an expression must use known functions, found {name!r}")
    for arg in args:
        _check(arg)
    if name in _POWERS and (len(args) != 2 or not _is_small(args[1])):
        raise ValueError(f"an exponent must be a number up to {_LARGEST_EXPONENT}")


def _is_small(exponent: ast.expr) -> bool:
    match exponent:
        case ast.Call(func=ast.Name(id="Integer"), args=[inner]):
            return _is_small(inner)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_small(operand)
        case ast.Constant(value=int() as number):
            return 0 <= number <= _LARGEST_EXPONENT
    return False
