"""Python's literals in texts of cells: lists, names and numbers are read, nothing is run."""

import ast
import warnings

from raynas.errors import RaynasError, short
from raynas.spaces.operations import canonical_name, unknown_operation
from raynas.spaces.texts.snippet import Snippet


class Literal:
    """Python's syntax tree of a text, ``title`` its form's name, ``notation`` what it must look like.

    Raises `RaynasError` with line and column, counted in what the user gave, when the text cannot be parsed.
    """

    def __init__(self, snippet: Snippet, title: str, notation: str) -> None:
        self.snippet, self.title, self.notation = snippet, title, notation
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "is" with a literal and the like: not ours to tell
                self.tree: ast.expr = ast.parse(snippet.text, mode="eval").body
        except SyntaxError as error:
            where = snippet.where(error.lineno or 1, error.offset or 1)
            raise RaynasError(f"not {title} text form: {error.msg}", got=where, expected=notation) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise RaynasError(f"not {title} text form: {error}", expected=notation) from None

    def call(self, positional: tuple[str, ...] = ()) -> dict[str, ast.expr]:
        """Return the fields of the call or the dictionary that the text is, by name.

        Arguments without a name are those of ``positional``, if they are as many.
        """
        pairs: list[tuple[object, ast.expr]]
        match self.tree:
            case ast.Dict(keys=keys, values=values):
                pairs = [
                    (key.value if isinstance(key, ast.Constant) else None, value)
                    for key, value in zip(keys, values, strict=True)
                ]
            case ast.Call(args=args, keywords=keywords) if len(args) in (0, len(positional)):
                pairs = list(zip(positional, args, strict=False))
                pairs += [(keyword.arg, keyword.value) for keyword in keywords]
            case _:
                raise self.error(f"not {self.title} text form", self.tree, self.notation)
        fields: dict[str, ast.expr] = {}
        for name, value in pairs:
            if not isinstance(name, str) or name in fields:
                raise self.error(f"unexpected or repeated field {name}", value, self.notation)
            fields[name] = value
        return fields

    def items(self, tree: ast.expr, expected: object) -> list[ast.expr]:
        """Return the items of a list or a tuple."""
        if not isinstance(tree, ast.List | ast.Tuple):
            raise self.error("not a list", tree, expected)
        return tree.elts

    def number(self, tree: ast.expr) -> int:
        """Return a whole number."""
        match tree:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return number
        raise self.error("not a whole number", tree, "0, 1, 2, ...")

    def numbers(self, tree: ast.expr, expected: object) -> range | list[int]:
        """Return the numbers of a list, a tuple, or a ``range(…)``, which may be inside ``list(…)``."""
        match tree:
            case ast.Call(func=ast.Name(id="list" | "tuple"), args=[inner], keywords=[]):
                return self.numbers(inner, expected)
            case ast.Call(func=ast.Name(id="range"), args=[stop], keywords=[]):
                return range(self.number(stop))
            case ast.Call(func=ast.Name(id="range"), args=[start, stop], keywords=[]):
                return range(self.number(start), self.number(stop))
        return [self.number(item) for item in self.items(tree, expected)]

    def operation(self, tree: ast.expr) -> str:
        """Return the name that the catalogue has for an operation; a constant's name is one as well."""
        match tree:
            case ast.Constant(value=str(name)) | ast.Name(id=name):
                if known := canonical_name(name):
                    return known
                if isinstance(tree, ast.Constant):
                    error = unknown_operation(name)
                    raise self.error(error.what, tree, error.expected, error.near)
        raise self.error("not an operation's name", tree, "a quoted name, as 'sep_conv_3x3'")

    def error(self, what: str, tree: ast.expr, expected: object, near: str | None = None) -> RaynasError:
        """Build the error for a part of the text, with its place."""
        text = self.snippet.text
        segment = " ".join((ast.get_source_segment(text, tree) or "").split())
        # The tree counts bytes of UTF-8.
        before = text.splitlines()[tree.lineno - 1].encode()[: tree.col_offset].decode(errors="ignore")
        got = f"{short(segment)} ({self.snippet.where(tree.lineno, len(before) + 1)})"
        return RaynasError(what, got=got, expected=expected, near=near)
