"""Rules tried with promtool: what series said minute by minute, and which alerts are to fire then, with what they say."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.helm.monitoring import needs

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "vendorwire" / "files" / "rules.yaml"

Tree = Any  # YAML


def read(file: Path) -> Tree:
    return YAML(typ="safe").load(file.read_text(encoding="utf-8"))


def alerts() -> Mapping[str, Tree]:
    """The shipped alerts by name."""
    return {rule["alert"]: rule for group in read(RULES)["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(*words: str, given: str = "") -> tuple[int, str]:
    """The exit status, and what it printed."""
    command = [needs("promtool", "prometheus"), *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def tried(case: Tree, folder: Path) -> tuple[int, str]:
    """`promtool test rules` with the shipped rules.

    Of an alert that is to fire, a case tells what differs; its severity, description and runbook_url are added here.
    """
    shipped = alerts()
    for test in case["tests"]:
        for expected in test["alert_rule_test"]:
            rule = shipped[expected["alertname"]]
            for alert in expected.get("exp_alerts", ()):
                alert["exp_labels"] |= rule["labels"]
                alert["exp_annotations"] |= {each: rule["annotations"][each] for each in ("description", "runbook_url")}
    whole = folder / "case.yaml"
    whole.write_text(json.dumps({**case, "rule_files": [str(RULES)]}))  # JSON is YAML
    return promtool("test", "rules", str(whole))
