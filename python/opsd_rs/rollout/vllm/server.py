"""The process that holds vLLM: ``python -m opsd_rs.rollout.vllm.server FD PARENT_PID WATCH``. Not for use by hand.

It is started by ``opsd_rs.rollout.vllm.client`` with one end of a Unix socket pair as FD, and answers one request at a
time. vLLM runs inside this very process (``VLLM_ENABLE_V1_MULTIPROCESSING=0``), so there is exactly one process to
watch. It ends when its trainer ends, for whatever reason: the kernel kills it when the thread that started it exits
(PR_SET_PDEATHSIG, prctl(2); WATCH=thread leaves that out, for trainers that start it from a passing thread), and a
watching thread kills it when the socket hangs up or the parent has changed.

Frames: 8 bytes of length, little-endian, then a pickle of built-in types only; file descriptors ride on the
length (SCM_RIGHTS, unix(7)). It does not listen on any port.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MAX_FDS = 253  # the kernel's SCM_MAX_FD, unix(7)
PROGRESS_SECONDS = 0.5
"""How often the trainer hears of a running generation: its progress bar, and a sign of life."""


class Channel:
    """Frames over a stream socket. ``waiting`` is called each ``poll_seconds`` of waiting and may raise."""

    def __init__(
        self, sock: socket.socket, waiting: Callable[[], None] | None = None, poll_seconds: float = 0.1
    ) -> None:
        self.socket = sock
        self._waiting = waiting
        sock.settimeout(poll_seconds if waiting else None)

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send one message of built-in types, and open file descriptors with it."""
        body = pickle.dumps(message, protocol=5)
        header = struct.pack("<Q", len(body))
        # Eight bytes always fit the buffer whole once the socket is writable, so the descriptors go exactly once.
        self._patiently(partial(socket.send_fds, self.socket, [header], list(fds)))
        rest = memoryview(body)
        while rest:
            rest = rest[self._patiently(partial(self.socket.send, rest)) :]

    def receive(self) -> tuple[Any, list[int]]:
        """One message and its file descriptors. Raises EOFError when the other end is gone."""
        header, fds = b"", list[int]()
        while len(header) < 8:
            wanted = 8 - len(header)
            part, got, _, _ = self._patiently(
                partial(socket.recv_fds, self.socket, wanted, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
            )
            if not part:
                raise EOFError
            header += part
            fds += got
        body = bytearray(struct.unpack("<Q", header)[0])
        rest = memoryview(body)
        while rest:
            count = self._patiently(partial(self.socket.recv_into, rest))
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return pickle.loads(body), fds

    def _patiently(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except TimeoutError:
                if self._waiting is not None:
                    self._waiting()


class Server:
    """vLLM behind the channel: generate, score, load."""

    def __init__(self, llm_options: dict[str, Any], probe_ids: Sequence[int]) -> None:
        import vllm

        version = tuple(int(part) for part in vllm.__version__.split("+")[0].split(".")[:2])
        if not (0, 24) <= version < (0, 34):
            raise ImportError(f"vLLM {vllm.__version__} is outside the supported range >=0.24,<0.34")
        self.vllm = vllm
        self.llm = vllm.LLM(**llm_options)
        self.engine = self.llm.llm_engine
        self.probe_ids = list(probe_ids)
        self.num_requests = 0

    def describe(self) -> dict[str, Any]:
        """Facts for the trainer's log."""
        config = self.engine.vllm_config
        return {
            "vllm": self.vllm.__version__,
            "block_size": config.cache_config.block_size,
            "max_model_len": config.model_config.max_model_len,
        }

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """All requests to their end, added in order before the first step; outputs in the same order."""
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        place: dict[str, int] = {}
        outputs: list[Any] = [None] * len(prompts)
        done = 0
        try:
            for index, (ids, param) in enumerate(zip(prompts, params, strict=True)):
                request_id = f"opsd-{self.num_requests}"
                self.num_requests += 1
                param.output_kind = RequestOutputKind.FINAL_ONLY
                place[request_id] = index
                self.engine.add_request(request_id, tokens_input(list(ids)), param)
            last = time.monotonic()
            while self.engine.has_unfinished_requests():
                for output in self.engine.step():
                    if output.finished:
                        outputs[place[output.request_id]] = output
                        done += 1
                if progress is not None and time.monotonic() - last >= PROGRESS_SECONDS:
                    progress(done, len(prompts))
                    last = time.monotonic()
        except BaseException:
            self.engine.abort_request(list(place))
            raise
        return outputs

    def generate(
        self,
        requests: Sequence[tuple[Sequence[int], int]],
        sampling: dict[str, Any],
        progress: Callable[[int, int], None],
    ) -> list[tuple[list[int], list[float], bool]]:
        """(completion_ids, logprobs, truncated) per request ``(prompt_ids, seed)``."""
        params = [
            self.vllm.SamplingParams(
                temperature=sampling["temperature"],
                top_p=sampling["top_p"],
                max_tokens=sampling["max_tokens"],
                seed=seed,
                logprobs=0,  # the sampled token's own
                stop_token_ids=list(sampling["stop_ids"]),
                ignore_eos=True,  # only the caller's stop ids count
                detokenize=False,
            )
            for _, seed in requests
        ]
        outputs = self.run([ids for ids, _ in requests], params, progress)
        rows = []
        for output in outputs:
            completion = output.outputs[0]
            ids = list(completion.token_ids)
            logprobs = [step[token].logprob for token, step in zip(ids, completion.logprobs, strict=True)]
            rows.append((ids, logprobs, completion.finish_reason == "length"))
        return rows

    def score(self, prompt_ids: Sequence[int], top: int) -> tuple[list[int], list[float], int]:
        """The ``top`` most probable next tokens, their log-probabilities, and how many prompt tokens were cached."""
        params = self.vllm.SamplingParams(
            temperature=0.0, max_tokens=1, logprobs=top, ignore_eos=True, detokenize=False
        )
        (output,) = self.run([prompt_ids], [params])
        ranked = sorted(output.outputs[0].logprobs[0].items(), key=lambda item: item[1].rank)[:top]
        ids = [int(token) for token, _ in ranked]
        return ids, [entry.logprob for _, entry in ranked], int(output.num_cached_tokens or 0)

    def load(self, fds: list[int], version: int) -> dict[str, Any]:
        """Take a parcel of weights; report what the trainer needs to prove that they arrived."""
        self.score(self.probe_ids, 1)  # now it is cached: a cache that survives the load is detected below
        received = self.llm.collective_rpc("opsd_load", args=(fds,))[0]
        reset = self.reset_cache()
        stale_head = self.llm.collective_rpc("opsd_stale_head", args=(version,))[0]
        cached_tokens = self.score(self.probe_ids, 1)[2]
        return {
            "fingerprints": received,
            "reset": reset,
            "stale_head": stale_head,
            "cached_tokens": cached_tokens,
        }

    def reset_cache(self) -> bool:
        """Drop all keys and values of older weights; False where vLLM refuses (requests still run)."""
        return bool(self.llm.reset_prefix_cache())


def serve(channel: Channel) -> None:
    """Build the engine, say so, answer until told to close or the trainer is gone."""
    server: Server | None = None

    def progress(done: int, total: int) -> None:
        channel.send(("progress", done, total))

    while True:
        try:
            (name, arguments), fds = channel.receive()
        except EOFError:
            return
        if name == "close":
            return
        try:
            if name == "start":
                server = Server(**arguments)
                answer: Any = server.describe()
            elif server is None:
                raise RuntimeError("not started")
            elif name == "generate":
                answer = server.generate(**arguments, progress=progress)
            elif name == "load":
                answer = server.load(fds, **arguments)
            else:
                answer = server.score(**arguments)
        except Exception as error:  # carried to the trainer, which ends the run with one line
            traceback.print_exc()
            channel.send(("error", type(error).__name__, str(error)))
        else:
            channel.send(("answer", answer))
        finally:
            for fd in fds:
                os.close(fd)


def end_everything() -> None:
    """Kill this process and, as it leads a process group of its own, whatever it started."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def die_with_parent(parent_pid: int, fd: int, by_kernel: bool) -> None:
    """Arrange that this process never outlives its trainer."""
    if by_kernel and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the line above
        end_everything()

    def watch() -> None:
        hangup = select.poll()
        hangup.register(fd, select.POLLRDHUP)
        while not hangup.poll(1000) and os.getppid() == parent_pid:
            pass
        end_everything()

    threading.Thread(target=watch, name="watch-trainer", daemon=True).start()


def main() -> None:
    """Entry point of the child process."""
    fd, parent_pid, watch = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with_parent(parent_pid, fd, by_kernel=watch == "kernel")
    serve(Channel(socket.socket(fileno=fd)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # vLLM's own teardown has nothing to save and may hang


if __name__ == "__main__":
    main()
