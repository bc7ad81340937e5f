"""How much of the code that must not be wrong the tests would notice if it were: `make mutants`, in a venv of its own.

One thing at a time is changed in a module, as mutmut's operators change things, and the module's own quick tests are run on each
such mutant. mutmut's own runner would leave out constants, tables, decorated functions and what is called at import; here
each mutant is imported anew, in a process forked from one that has imported all that is not ours. One that hangs or crashes
counts as killed, one that no test reaches as survived. `.mutants/progress` says how far it is, and what has survived so far.
"""

import argparse
import importlib.util
import os
import re
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import libcst as cst
import msgspec
import pytest
from hypothesis import Phase, settings
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

AT_LEAST = 85.0  # percent, of each module
CPU = 60  # seconds for one mutant,
PATIENCE = 120.0  # and by the clock, for one that waits for what never comes
WORK = Path(".mutants").absolute()
FOLDERS = ("agent", "connectors", "events", "schemas", "tests")
TESTS: Mapping[str, str] = {
    "events/addresses.py": "events/test_addresses.py",
    "events/circuit.py": "events/test_circuit_rules.py events/test_circuit.py",
    "events/diff.py": "events/test_diff_rules.py events/test_diff.py",
    "events/jetstream/ledger.py": "events/test_ledger_rules.py events/test_ledger.py",
    "events/jetstream/tokens.py": "events/test_tokens_rules.py events/test_tokens.py",
    "events/ledger.py": "events/test_ledger_rules.py events/test_ledger.py",
    "events/retry.py": "events/test_retry.py",
    "events/signing.py": "events/test_signing.py",
    "events/tokens.py": "events/test_tokens_rules.py events/test_tokens.py",
    "agent/sharing.py": "agent/test_token_sharing_rules.py agent/test_token_keys.py agent/test_token_sharing.py",
    "agent/tokens.py": "agent/test_tokens_rules.py agent/test_tokens_background.py agent/test_tokens.py "
    "agent/test_token_trouble.py agent/test_token_sharing.py",
}
LEFT_OUT = re.compile(
    r"^class "  # frozen, kw_only: nothing that a test would try
    r"|failpoints\."  # do nothing until a test of the fault suite asks for them
)
PYTEST = [
    *("-x", "-o", "addopts=--import-mode=importlib", "-o", "timeout=30", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning", "--hypothesis-profile=mutants"),
    *("-k", "not any_body_at_any_time and not whatever_is_configured"),  # ten thousand signatures take too long
]


class Mutant(msgspec.Struct, frozen=True):
    """A module with one thing changed; `what` says which."""

    code: str
    what: str


class Score(msgspec.Struct, frozen=True):
    """What became of a module's mutants."""

    module: str
    mutants: int
    survivors: Sequence[str]
    minutes: float

    @property
    def percent(self) -> float:
        return 100.0 * (self.mutants - len(self.survivors)) / self.mutants

    def row(self) -> str:
        left = len(self.survivors)
        figures = [self.mutants, self.mutants - left, left, f"{self.percent:.1f} %", f"{self.minutes:.1f}"]
        return f"| {self.module} | {' | '.join(map(str, figures))} |"


class _Everywhere(MutationVisitor):  # type: ignore[misc] # mutmut is there for `make mutants` only
    """Also in decorated functions."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        decorated = isinstance(node, cst.FunctionDef) and len(node.decorators) > 0
        return not decorated and bool(super()._skip_node_and_children(node))


def main() -> int:
    """0 where every module has its score, else 1."""
    asked = argparse.ArgumentParser(prog="mutants", description="The mutation score of what must not be wrong.")
    asked.add_argument("--only", choices=TESTS, metavar="MODULE", help=f"one of {', '.join(TESTS)}")
    asked.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = asked.parse_args()
    settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
    print("| module | mutants | killed | survived | score | minutes |\n|---|---|---|---|---|---|", flush=True)
    scores = []
    for module in [arguments.only] if arguments.only else TESTS:
        scores.append(scored(module, arguments.processes))
        print(scores[-1].row(), flush=True)
    for score in scores:
        print("", *score.survivors, sep="\n")
    return int(any(score.percent < AT_LEAST for score in scores))


def scored(module: str, processes: int) -> Score:
    """Make a module's mutants, and run its tests on each."""
    began = monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    for name in FOLDERS:
        shutil.copytree(name, WORK / name)
    shutil.copy("pyproject.toml", WORK)
    source = Path(module).read_text()
    mutants = mutants_of(module, source)
    with _warm(module):
        if not _survivors(module, [Mutant(source, "none")], 1):
            raise SystemExit(f"without any mutant they fail: pytest {' '.join(_arguments(module))}")
        survivors = _survivors(module, mutants, processes)
    return Score(module, len(mutants), survivors, (monotonic() - began) / 60)


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All of a module's mutants, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    left_out = {number for number, line in enumerate(source.splitlines(), 1) if LEFT_OUT.search(line)}
    visitor = _Everywhere(mutation_operators, IgnoredCode(left_out, set(), left_out))
    wrapper.visit(visitor)
    places = wrapper.resolve(PositionProvider)
    made = []
    for mutation in visitor.mutations:
        old, new = mutation.original_node, mutation.mutated_node
        words = [" ".join(wrapper.module.code_for_node(node).split()) for node in (old, new)]
        line = places[old].start.line if old in places else 0
        made.append(Mutant(wrapper.module.deep_replace(old, new).code, f"{module}:{line}: {' => '.join(words)}"))
    return made


def _survivors(module: str, mutants: Sequence[Mutant], processes: int) -> list[str]:
    running: dict[int, Mutant] = {}
    survivors = []

    def reap() -> None:
        pid, status = os.wait()
        _end(pid)  # a server that one of its tests has left
        mutant = running.pop(pid)
        if status == 0:
            survivors.append(mutant.what)

    try:
        for number, mutant in enumerate(mutants, 1):
            if len(running) == processes:
                reap()
            pid = os.fork()
            if pid == 0:
                _try(module, mutant.code)
            running[pid] = mutant
            so_far = [f"{number} of {len(mutants)} mutants of {module}; survived so far:", *survivors, ""]
            (WORK / "progress").write_text("\n".join(so_far))
        while running:
            reap()
    finally:
        for pid in running:
            _end(pid)
    return survivors


def _end(pid: int) -> None:
    """What is left of the group of processes that began with this one."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _try(module: str, code: str) -> None:
    """In a process of its own, which ends here: with 0 where no test fails."""
    failed = 1
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
        watchdog = threading.Timer(PATIENCE, os._exit, [failed])
        watchdog.daemon = True
        watchdog.start()
        name, path = module.removesuffix(".py").replace("/", "."), WORK / module
        folder, _, last = name.rpartition(".")
        package = importlib.import_module(folder)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        mutant = sys.modules[name] = importlib.util.module_from_spec(spec)
        setattr(package, last, mutant)
        exec(compile(code, path, "exec"), mutant.__dict__)
        failed = int(pytest.main(_arguments(module)))
    finally:
        os._exit(failed)


@contextmanager
def _warm(module: str) -> Iterator[None]:
    """In the copy of the tree, quiet, with everything imported that the tests need and that is not ours."""
    before, silent, kept = Path.cwd(), os.open(os.devnull, os.O_WRONLY), [os.dup(1), os.dup(2)]
    os.environ["CI"] = "true"
    os.chdir(WORK)
    sys.path.insert(0, str(WORK))
    try:
        for stream in (1, 2):
            os.dup2(silent, stream)
        pytest.main(["--collect-only", *_arguments(module)])
        for name in [name for name in sys.modules if name.partition(".")[0] in FOLDERS]:
            del sys.modules[name]
        yield
    finally:
        sys.path.remove(str(WORK))
        os.chdir(before)
        for stream, old in zip((1, 2), kept, strict=True):
            os.dup2(old, stream)


def _arguments(module: str) -> list[str]:
    return [*PYTEST, *(f"tests/{name}" for name in TESTS[module].split())]


if __name__ == "__main__":
    sys.exit(main())
