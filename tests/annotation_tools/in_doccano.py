"""doccano's own import, with the encoding guessed, writes our pre-annotations into its database."""

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

source = str(Path(sys.argv[1]).resolve())
backend = Path(str(find_spec("backend.data_import").origin)).parents[1]  # type: ignore[union-attr]
sys.path.insert(0, str(backend))
place = tempfile.mkdtemp()
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "config.settings.development",
    "DATABASE_URL": f"sqlite:///{place}/db.sqlite3",
}

import django  # noqa: E402

django.setup()

from data_import.datasets import load_dataset  # noqa: E402
from data_import.pipeline.catalog import create_file_format  # noqa: E402
from data_import.pipeline.readers import FileName  # noqa: E402
from django.core.management import call_command  # noqa: E402
from examples.models import Example  # noqa: E402
from labels.models import Span  # noqa: E402
from projects.models import ProjectType  # noqa: E402
from projects.tests.utils import prepare_project  # noqa: E402

WANTED = [
    ("Anna met Bob in Rome.", ["Anna PER", "Bob PER", "Rome LOC"]),
    ("It rained \U0001f600 in Köln, Anna's town.", ["Köln LOC", "Anna PER"]),
    ("Nothing here.", []),
]

call_command("migrate", verbosity=0)
call_command("create_roles", verbosity=0)
project = prepare_project(ProjectType.SEQUENCE_LABELING)
files = [FileName(source, source, "pre.jsonl")]
loaded = load_dataset(ProjectType.SEQUENCE_LABELING, create_file_format("JSONL"), files, project.item)
loaded.save(project.admin)
assert not loaded.errors, loaded.errors
found = [
    (
        example.text,
        [
            f"{example.text[span.start_offset : span.end_offset]} {span.label.text}"
            for span in Span.objects.filter(example=example).order_by("start_offset")
        ],
    )
    for example in Example.objects.filter(project=project.item).order_by("id")
]
assert found == WANTED, found
