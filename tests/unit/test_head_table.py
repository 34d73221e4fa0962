"""The table of heads is true: each row's class exists, opens, exports, and has the names it says."""

import ast
from pathlib import Path

import pytest
import torch
import transformers

import debertav3
from debertav3 import models
from debertav3.checkpoint import keys, shapes
from debertav3.checkpoint.opening import open_model
from debertav3.cpu.native import model as native_model
from debertav3.errors import UserError
from debertav3.heads import BY_NAME, BY_TASK, ENCODER, HEADS, Head, HeadName
from debertav3.inference.backends.protocol import head_for
from debertav3.inference.export.graph import folded_copy, random_batch, to_tensors
from debertav3.inference.export.int8_examples import head_to_export
from debertav3.inference.export.verification import outputs_of
from debertav3.inference.files.row_answers import FILE_TASKS
from debertav3.models.auto_classes import AUTO_CLASSES
from debertav3.sizes import HEAD_PARAMETERS
from debertav3.tasks.names import TASKS
from tiny_models import ModelFolders


@pytest.fixture(scope="module")
def model_folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


ALL = [pytest.param(head, id=head.name) for head in HEADS]


@pytest.mark.parametrize("head", ALL)
def test_class_exists_and_is_public(head: Head) -> None:
    found = models.class_of(head.name)
    assert found.__name__ == head.class_name
    assert found is getattr(debertav3, head.class_name)
    assert head.class_name in debertav3.__all__


@pytest.mark.parametrize("head", ALL)
def test_a_checkpoint_of_it_opens_with_the_tensors_of_the_row(head: Head, model_folder: ModelFolders) -> None:
    folder = model_folder(head.class_name)
    opened = open_model(folder, head=models.class_of(head.name))
    assert not opened.report.fresh
    names = [name for name in opened.model.state_dict() if not name.startswith(keys.BODY)]
    if head.name != ENCODER:  # a bare encoder's names have no prefix at all
        assert {name.split(".")[0] + "." for name in names} == set(head.keys)


@pytest.mark.parametrize("head", ALL)
def test_it_exports_the_outputs_of_the_row(head: Head, model_folder: ModelFolders) -> None:
    opened = open_model(model_folder(head.class_name), head=models.class_of(head.name)).model
    assert head_to_export({"architectures": [head.class_name]}, task=None, place="here") == head.name
    batch = random_batch(2, 9, head=head.name, config=opened.config)
    wanted = outputs_of(opened, batch)
    assert tuple(wanted) == head.outputs
    exported = torch.export.export(folded_copy(opened), args=(), kwargs=to_tensors(batch)).module()
    with torch.inference_mode():
        got = exported(**to_tensors(batch))
    for name, array in wanted.items():
        assert torch.allclose(got[name], torch.from_numpy(array), atol=1e-5)
        size = {"text": 1, "token": 9, "mask": batch.get("masked_positions", batch["input_ids"]).shape[-1]}
        assert array.reshape(2, -1).shape[1] % size[head.outputs_per] == 0


@pytest.mark.parametrize("head", ALL)
def test_stock_auto_classes_build_the_class_of_this_name(head: Head) -> None:
    for name in head.auto_classes:
        stock = getattr(transformers, name)._model_mapping[transformers.DebertaV2Config]
        assert stock.__name__ == head.class_name == AUTO_CLASSES[name]


def test_pipeline_tags_are_those_of_the_hub() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    tags = {head.pipeline_tag for head in HEADS if head.pipeline_tag}
    # Pipelines that transformers 5 no longer has; the Hub still knows their tags.
    assert tags - set(PIPELINE_REGISTRY.get_supported_tasks()) <= {"question-answering", "multiple-choice"}


def test_every_task_is_answered_and_trained_with_a_head_of_the_table() -> None:
    assert FILE_TASKS.keys() <= BY_TASK.keys()
    assert {task.head for task in TASKS.values()} <= {head.name for head in HEADS}
    assert len(BY_TASK) == sum(len(head.tasks) for head in HEADS)  # no task has two heads
    for task, head in BY_TASK.items():
        assert head_for({"architectures": [head.class_name]}, task=task, place="here") == head.name
    with pytest.raises(UserError, match="unknown task 'poetry'"):
        head_for({}, task="poetry", place="here")


def test_every_head_is_counted_shaped_and_computed_without_torch() -> None:
    names = {head.name for head in HEADS}
    assert HEAD_PARAMETERS.keys() == names
    assert shapes._HEADS.keys() | {ENCODER} == names
    assert native_model._HEADS.keys() | {ENCODER} == names


def test_every_head_that_is_trained_has_what_its_model_card_names() -> None:
    for head in (BY_NAME[task.head] for task in TASKS.values()):
        assert head.pipeline_tag and head.auto_classes, head.name


def test_nobody_lists_the_heads_again(repository: Path) -> None:
    """No module spells a head's name; "encoder" is also a folder."""
    names = {*HeadName.__args__}  # type: ignore[attr-defined]
    assert names == {head.name for head in HEADS}
    wrong, names = [], names - {ENCODER}
    for path in sorted((repository / "src" / "debertav3").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & names
        if path.name != "heads.py" and found:
            wrong.append(f"{path.name}: {', '.join(map(str, found))}")
    assert not wrong, wrong
