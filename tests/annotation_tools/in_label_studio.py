"""Label Studio's SDK checks our predictions against a labelling configuration, and converts them to CoNLL."""

import json
import sys
import tempfile
from pathlib import Path

from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
WANTED = ["Anna B-PER", "Bob B-PER", "Rome B-LOC", "Köln B-LOC", "Anna B-PER"]

tasks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
interface = LabelInterface(CONFIG)
for task in tasks:
    for prediction in task["predictions"]:
        assert interface.validate_prediction(prediction), prediction
wrong = json.loads(json.dumps(tasks[0]["predictions"][0]))
wrong["result"][0]["value"]["labels"] = ["NONE"]
assert not interface.validate_prediction(wrong)  # it does look
for number, task in enumerate(tasks):
    task |= {"id": number, "annotations": [{"id": number, "result": task["predictions"][0]["result"]}]}
with tempfile.TemporaryDirectory() as folder:
    source = Path(folder) / "tasks.json"
    source.write_text(json.dumps(tasks), encoding="utf-8")
    Converter(CONFIG, project_dir=None).convert_to_conll2003(str(source), folder, is_dir=False)
    lines = (Path(folder) / "result.conll").read_text(encoding="utf-8").splitlines()
found = [f"{parts[0]} {parts[-1]}" for parts in map(str.split, lines) if parts and parts[-1][1:2] == "-"]
assert found == WANTED, found
