"""infinity as ``serve_load.py`` asks it: its own server and batching, with a route that takes our body.

It needs an environment of its own, since its packages exclude those of this project::

    python -m venv build/infinity
    build/infinity/bin/pip install 'infinity-emb[server,torch]==0.0.78' torch==2.13.0
    INFINITY_PYTHON=build/infinity/bin/python python benchmarks/serve_load.py ...

infinity takes no pairs for classification, so both texts go into one, as many tokens but for a separator.

Run: build/infinity/bin/python benchmarks/serve_infinity.py --model FOLDER --port PORT
"""

import argparse
import os


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    os.environ.update(DO_NOT_TRACK="1", INFINITY_ANONYMOUS_USAGE_STATS="0")

    import uvicorn
    from fastapi import Request
    from infinity_emb.args import EngineArgs
    from infinity_emb.infinity_server import create_server

    settings = EngineArgs(
        model_name_or_path=asked.model,
        served_model_name="m",
        engine="torch",
        device="cpu",
        dtype="float32",
        bettertransformer=False,  # it has none for this architecture
        trust_remote_code=False,
    )
    app = create_server(engine_args_list=[settings])

    @app.get("/ready")
    def ready() -> None:
        return None

    @app.post("/predict")
    async def predict(request: Request) -> list[dict[str, object]]:
        pair = (await request.json())["inputs"]
        scores, _ = await app.engine_array["m"].classify(sentences=[" ".join(pair)])
        return list(scores[0])

    uvicorn.run(app, host="127.0.0.1", port=asked.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
