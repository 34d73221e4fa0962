"""MCP: the tasks of the loaded heads as tools for language models, over stdin and stdout.

The `mcp` SDK implements the protocol. A tool takes and returns what our own route of the same name does, with
the same limits and the same batcher. The SDK owns stdout; everything else that is printed goes to stderr.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pydantic import TypeAdapter

from ..json_types import Json, JsonObject
from ..version import __version__
from .dispatch import ROUTES, Operation, validated
from .limits import parse_body
from .refusals import Refusal
from .service import Call, Service

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server import Server

logger = logging.getLogger(__name__)

_DESCRIPTIONS = {
    "classify": "Classify texts, or pairs of texts, with the labels that the model was trained on. "
    "Returns each input's label and the probability of every label.",
    "nli": "Judge whether each premise entails its hypothesis: probabilities of entailment, neutral and "
    "contradiction. Use it to check a claim against a source.",
    "zero-shot": "Assign labels that you choose to texts, without training. Returns each text's labels, best "
    "first. Set multi_label if several may apply.",
    "ner": "Find named entities in texts of any length: kind, score, the words, and their characters from "
    "start to end.",
    "qa": "Answer questions with a span of the given context, of any length. An empty answer means that "
    "the context has no answer.",
    "rerank": "Rank passages by how well they answer a query, best first. Returns the index of each passage "
    "and its score.",
}
"""What a language model reads to choose a tool, for each task."""


@dataclass(frozen=True)
class Tool:
    """One task as a tool."""

    name: str
    task: str
    operation: Operation

    def described(self) -> "types.Tool":
        """What clients list."""
        import mcp_types as types

        returns: Json = self.operation.returns
        return types.Tool(
            name=self.name,
            description=_DESCRIPTIONS[self.task],
            input_schema=self.operation.body.model_json_schema(),
            output_schema=TypeAdapter(returns).json_schema(),
            annotations=types.ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
            ),
        )


def tools_of(service: Service) -> dict[str, Tool]:
    """The tools that at least one loaded model answers, by name."""
    answered = {task for model in service.models.values() for task in model.tasks}
    found = {}
    for task in _DESCRIPTIONS:
        if task in answered:
            (operation,) = (one for one in ROUTES[f"/{task}"] if one.dialect == "own")
            name = task.replace("-", "_")
            found[name] = Tool(name, task, operation)
    return found


def make_server(service: Service) -> "Server[Json]":
    """The protocol's server for a service; start the service first."""
    import mcp_types as types
    from mcp import MCPError
    from mcp.server import Server

    tools = tools_of(service)

    async def list_tools(context: object, asked: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.described() for tool in tools.values()])

    async def call_tool(context: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(asked.name)
        if tool is None:
            known = ", ".join(tools) or "none"
            raise MCPError(types.INVALID_PARAMS, f"no tool of that name; the loaded models answer: {known}.")
        try:
            answer = await _answer(service, tool, asked.arguments or {})
        except Refusal as refusal:
            return _result(refusal.message, is_error=True)
        except Exception:
            logger.exception("tool %s failed", tool.name)
            return _result("the server failed; see its log.", is_error=True)
        return _result(json.dumps(answer, ensure_ascii=False), structured_content=answer)

    def _result(text: str, **fields: Json) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], **fields)

    return Server(
        "debertav3",
        version=__version__,
        instructions=_instructions(service),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _answer(service: Service, tool: Tool, arguments: JsonObject) -> object:
    raw = json.dumps(arguments).encode()
    content, characters = parse_body(raw, service.limits)  # its checks: depth, lengths, half characters
    call = Call(service, id="", model_name=content.get("model"), characters=characters)
    return await tool.operation.answer(call, validated(tool.operation, content))


def _instructions(service: Service) -> str:
    listed = "; ".join(f"{name}: {', '.join(model.tasks)}" for name, model in service.models.items())
    return (
        f"Small encoder models that classify and compare texts in milliseconds. Models and tasks: {listed}."
    )


def run(service: Service) -> None:
    """Serve one client over stdin and stdout until it closes stdin, or a signal ends the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    asyncio.run(_run(service))


def _end(number: int, _: FrameType | None) -> NoReturn:
    # At once: a thread of the SDK is blocked reading stdin, and Python would wait for it.
    print("debertav3: terminated", file=sys.stderr, flush=True)
    os._exit(128 + number)


async def _run(service: Service) -> None:
    from mcp.server.stdio import stdio_server

    server = make_server(service)
    async with stdio_server() as (reading, writing):
        await service.start()
        try:
            await server.run(reading, writing, server.create_initialization_options())
        finally:
            await service.stop()
