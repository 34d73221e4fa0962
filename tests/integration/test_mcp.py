"""``debertav3 mcp`` as a real process, asked by the SDK's own client."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from debertav3 import Predictor
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER"}
PAIR = ["A man is asleep on a bench.", "Nobody is awake."]

needs_sdk = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the package mcp is not installed (extra mcp)"
)


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def models(folders: ModelFolders) -> dict[str, Path]:
    return {
        "judge": folders("DebertaV2ForSequenceClassification", id2label=NLI),
        "tagger": folders("DebertaV2ForTokenClassification", id2label=TAGS),
        "reader": folders("DebertaV2ForQuestionAnswering"),
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "debertav3", "mcp", *arguments]


def asking(arguments: list[str], test: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    from mcp import Client, StdioServerParameters, stdio_client

    async def main() -> None:
        process = StdioServerParameters(
            command=sys.executable, args=command(*arguments)[1:], env={**os.environ}
        )
        async with Client(stdio_client(process)) as client:
            await test(client)

    asyncio.run(asyncio.wait_for(main(), 60))


@needs_sdk
def test_the_tools_are_those_that_the_heads_answer_and_their_scores_are_the_predictors(
    models: dict[str, Path],
) -> None:
    expected = Predictor.from_pretrained(models["judge"], device="cpu").nli(tuple(PAIR))

    async def test(client: Any) -> None:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(listed) == ["classify", "nli", "zero_shot", "ner", "qa", "rerank"]
        for tool in listed.values():
            assert tool.description and tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False

        async def call(name: str, **arguments: Any) -> Any:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            assert json.loads(result.content[0].text) == result.structured_content
            return result.structured_content["results"]

        (judged,) = await call("nli", pairs=[PAIR])
        assert judged["scores"] == pytest.approx(expected, abs=1e-5)
        assert [one["label"] in NLI.values() for one in await call("classify", texts=["a", PAIR])] == [
            True
        ] * 2
        (sorted_,) = await call(
            "zero_shot", texts=["It rains."], labels=["weather", "sports"], multi_label=True
        )
        assert set(sorted_["labels"]) == {"weather", "sports"}
        assert {one["index"] for one in await call("rerank", query="a", passages=["b", "c"])} == {0, 1}
        assert len(await call("ner", texts=["Anna Bell went to Rome."], model="tagger")) == 1
        asked = [{"question": "Who sleeps?", "context": "A man is asleep."}]
        assert "answer" in (await call("qa", questions=asked))[0]
        together = await asyncio.gather(*(call("nli", pairs=[PAIR] * n) for n in range(1, 9)))
        assert [len(one) for one in together] == list(range(1, 9))

    asking([f"--model={name}={folder}" for name, folder in models.items()], test)


@needs_sdk
def test_bad_inputs_are_one_line_and_the_process_lives_on(models: dict[str, Path]) -> None:
    bad = [
        ("nli", {}, "need pairs."),
        ("nli", {"pairs": [["only one"]]}, "pairs.0: "),
        ("nli", {"pairs": [PAIR], "color": "red"}, "color: this route has no such field."),
        ("classify", {"texts": [" \n "]}, "texts.0: got"),
        ("zero_shot", {"texts": ["a"], "labels": ["b"], "multi_label": "yes"}, "multi_label: "),
        ("zero_shot", {"texts": ["a"], "labels": ["b"], "template": "no place"}, "template: "),
        ("nli", {"pairs": [["x" * 100_001, "b"]]}, "at most 100000"),
        ("nli", {"pairs": [PAIR] * 1025}, "at most 1024"),
    ]

    async def test(client: Any) -> None:
        from mcp import MCPError

        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["classify", "nli", "zero_shot", "rerank"]  # one head: no ner, no qa
        for name, arguments, says in bad:
            result = await client.call_tool(name, arguments)
            assert result.is_error and result.structured_content is None, (name, arguments)
            (content,) = result.content
            assert says in content.text and "\n" not in content.text, content.text
        with pytest.raises(MCPError, match="no tool of that name"):
            await client.call_tool("ner", {"texts": ["a"]})
        assert not (await client.call_tool("nli", {"pairs": [PAIR]})).is_error

    asking([f"--model={models['judge']}"], test)


def message(number: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


GREETING = message(
    1,
    "initialize",
    protocolVersion="2025-06-18",
    capabilities={},
    clientInfo={"name": "test", "version": "1"},
)


@needs_sdk
def test_stdout_carries_only_the_protocol_and_the_end_of_stdin_ends_it(models: dict[str, Path]) -> None:
    asked = GREETING + b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n'
    asked += message(2, "tools/call", name="nli", arguments={"pairs": [PAIR]}) + b"not JSON\n"
    process = subprocess.Popen(
        command(f"--model={models['judge']}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DEBERTAV3_LOG": "info"},
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(asked)
    process.stdin.flush()
    lines: list[dict[str, Any]] = []
    while not any(line.get("id") == 2 for line in lines):
        lines.append(json.loads(process.stdout.readline()))
    rest, errors = process.communicate(timeout=30)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert all(line["jsonrpc"] == "2.0" for line in lines)
    assert b"batches: " in errors  # the log was on, and went elsewhere
    assert process.returncode == 0


@needs_sdk
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_though_stdin_is_open(models: dict[str, Path], number: signal.Signals) -> None:
    process = subprocess.Popen(
        command(f"--model={models['judge']}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(GREETING)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 1
    process.send_signal(number)
    try:
        assert process.wait(20) == 128 + number
    finally:
        process.kill()
        process.communicate()


@needs_sdk
def test_a_head_without_tools_is_refused_in_one_line(folders: ModelFolders) -> None:
    folder = folders("DebertaV2ForMaskedLM")
    done = subprocess.run(
        command(f"--model={folder}"), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "they can do fill-mask" in done.stderr


def test_without_the_sdk_it_says_what_to_install(models: dict[str, Path]) -> None:
    hide = "import sys; sys.modules['mcp'] = None; from debertav3.cli import main; "
    code = hide + f"sys.argv = ['debertav3', 'mcp', '--model={models['judge']}']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "pip install 'debertav3[mcp]'" in done.stderr
