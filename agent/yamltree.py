"""YAML text to plain values, each with its line: the only place that knows the YAML library.

YAML 1.2, one document, a mapping at its root, texts as keys. Anchors, aliases and tags are refused: they are not needed
here, and without them a small file cannot grow. `${NAME}` and `${file:/path}` are looked up wherever they stand.
"""

import math
import re
import unicodedata
from enum import Enum
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from agent.faults import Faults, step
from schemas.settings import MissingReferenceError, resolve

_DEEPEST = 20
_TAG = "tag:yaml.org,2002:"
_PROBLEMS = {  # what the YAML library says, and what a person can do
    r"\t": "a tab is not allowed here: indent with spaces",
    "undefined alias": "a value that begins with * must be in quotes",
    "another document": "only one document is allowed: remove the second '---'",
    "mapping values are not allowed": "a colon is not expected here: check the indentation, and quote a text with ': '",
    "expected ',' or": "a comma or a closing bracket is missing; between brackets ${NAME} must be in quotes",
    "end of stream": "a quote or a bracket is not closed",
    "unknown escape": "in double quotes a backslash is written twice: or use single quotes",
    "could not find expected ':'": "a key needs a colon and a space after it",
    "expected <block end>": "this does not fit the lines before it: check its indentation and its quotes",
    "cannot start any token": "a text that begins with this sign must be in quotes",
}


class Broken(Enum):
    """Stands for a value whose fault is already noted."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN


class Referred(msgspec.Struct, frozen=True):
    """A text with references in it: as written, and with the references replaced."""

    template: str
    text: str


def parse(text: str, faults: Faults) -> Any:
    """The root mapping, or BROKEN: of dicts, lists, str, Referred, int, float, bool, None and BROKEN. Notes faults."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.add("", _sentence(error), line=mark.line + 1 if mark else 1)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        faults.add("", "there is a control character, which is not allowed", line=line)
    except RecursionError:
        faults.add("", "the brackets are nested too deeply", line=1)
    except (ValueError, OverflowError):  # the library lets these through for escapes such as "\UFFFFFFFF"
        faults.add("", "an escape in double quotes is no character", line=1)
    else:
        faults.lines[""] = 1
        if isinstance(root, MappingNode):
            return _Tree(faults).mapping(root, "", 0)
        message = "is empty" if root is None else "must hold keys and values at its root, such as 'accounts:'"
        faults.add("", f"{message}: `vendorwire init` writes a file to start from", line=1)
    return BROKEN


def _sentence(error: MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it cannot be read"
    for part, sentence in _PROBLEMS.items():
        if part in problem:
            return sentence
    # What stands in quotes is from the file, perhaps from a secret.
    return "this is not YAML: " + re.sub(r"'.*'|\".*\"", "…", problem, flags=re.DOTALL)


class _Tree:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._anchored: set[int] = set()

    def mapping(self, node: MappingNode, path: str, depth: int) -> Any:
        if node.tag != _TAG + "map":
            return self._broken(node, path, "tags (!…) are not supported")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, ScalarNode):
                self._faults.add(path, "a key must be a text", line=line)
                continue
            key, place = key_node.value, step(path, key_node.value)
            if key in found:
                self._faults.add(place, f"is given twice, first in line {self._faults.lines[place]}", line=line)
                continue
            self._faults.lines.setdefault(place, line)
            found[key] = self.value(value_node, place, depth + 1)
        return found

    def value(self, node: Node, path: str, depth: int) -> Any:
        self._faults.lines.setdefault(path, _line(node))
        if id(node) in self._anchored:
            return BROKEN
        if node.anchor:
            self._anchored.add(id(node))
            message = "anchors and aliases are not supported: write the value out (a text that begins with & in quotes)"
            return self._broken(node, path, message)
        if depth > _DEEPEST:
            return self._broken(node, path, "is nested too deeply")
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, step(path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: Node, path: str) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() in {"true", "yes", "on", "y"}
            case "int" | "float" if isinstance(node, ScalarNode):
                number = number_in(text)
                return self._broken(node, path, "is not a plain number") if number is None else number
            case "str" | "timestamp" | "value" | "merge" if isinstance(node, ScalarNode):
                return self._text(text, node, path)
            case _:
                return self._broken(node, path, "tags are not supported: put a text that begins with ! in quotes")

    def _text(self, text: str, node: Node, path: str) -> Any:
        if not _is_text(text):
            return self._broken(node, path, "holds a control character")
        if "${" not in text:
            return text
        try:
            found = resolve(text)
        except MissingReferenceError as error:
            return self._broken(node, path, str(error))
        except ValueError:  # a path with characters that no path can have
            return self._broken(node, path, "names a file that cannot be")
        if not _is_text(found):
            return self._broken(node, path, f"{text} stands for a text with a control character")
        self._faults.references[path] = text
        if found and found != text:
            self._faults.hidden[found] = text
        return Referred(text, found)

    def _broken(self, node: Node, path: str, message: str) -> Broken:
        self._faults.add(path, message, line=_line(node))
        return BROKEN


def number_in(text: str) -> int | float | None:
    """The number a text writes in decimal digits, None where it is none (or none of finite size)."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_text(text: str) -> bool:
    return not any(unicodedata.category(sign) in {"Cc", "Cs"} and sign not in "\n\t" for sign in text)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
