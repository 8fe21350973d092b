"""Reading configuration: TOML files, strict, with paths relative to the file that names them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from fedgate.errors import InvalidConfig


class Section(BaseModel):
    """A part of a configuration file; unknown keys are errors, so that a typo cannot be silent."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None or path.is_absolute() else (Path(base) / path).resolve()


#: A path in a configuration file, made absolute against the folder of that file.
ConfigPath = Annotated[Path, AfterValidator(_resolve)]

T = TypeVar("T", bound=Section)


def load_config(kind: type[T], path: Path) -> T:
    """Read and validate ``path``; raises :class:`InvalidConfig` with each offending key."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig(
            f"cannot read the configuration {path}",
            why=str(error.strerror or error),
            remedy="give the right path, or create one with `fedgate dev`",
        ) from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of an absurd number
        raise InvalidConfig(f"{path} is not valid TOML", why=str(error)) from error
    _check_integers(data, path)
    try:
        return kind.model_validate(data, context={"base": path.resolve().parent})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'file'}: {e['msg']}" for e in error.errors()
        )
        raise InvalidConfig(f"{path} is not a valid configuration", why=problems) from error


def _check_integers(value: Any, path: Path, where: str = "") -> None:
    """A TOML integer has 64 bits. Python's reader takes larger ones, which later fail anywhere."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_integers(inner, path, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for inner in value:
            _check_integers(inner, path, where)
    elif type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise InvalidConfig(
            f"{path} is not a valid configuration", why=f"{where}: an integer has 64 bits at most"
        )
