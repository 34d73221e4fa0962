"""GitHub's workflows name actions by tags that exist, and runners that are not retired."""

import re
from pathlib import Path

RETIRED = ("macos-12", "macos-13", "macos-14", "ubuntu-20.04", "windows-2019")
FULL_TAGS_ONLY = ("pypa/cibuildwheel",)
"""Actions without a tag for their major version alone, such as v3."""


def test_actions_and_runners_exist(repository: Path) -> None:
    workflows = sorted((repository / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for path in workflows:
        text = path.read_text(encoding="utf-8")
        assert not [runner for runner in RETIRED if re.search(rf"{re.escape(runner)}\b", text)], path.name
        for action, tag in re.findall(r"uses: ([\w./-]+)@(\S+)", text):
            assert re.fullmatch(r"v\d+\.\d+\.\d+" if action in FULL_TAGS_ONLY else r"v\d\S*", tag), action
