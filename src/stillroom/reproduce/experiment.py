"""An experiment file: a comparison file that knows its scales and what the paper says.

    about: what the paper says, in a sentence
    minutes: {tiny: 4, small: 20}      # on two cores
    base: small.yaml                   # and against, seeds, rates, trial, set, variants: as in any comparison file
    tiny: {seeds: [10, 11], rates: [], set: {training.max_steps: 40}}  # what differs; `set` and `trial` are added
    paper: {base: opt.yaml, seeds: [10, 11, 12], test: {on: {dolly: null}}}  # its own, complete
    published: {...}                   # see published.py
    like: table1.yaml                  # the rest is as in that file beside this one; base: null: no small size

`comparison` turns it into a plain comparison file for one scale, which anyone can run without this room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.problems import did_you_mean
from stillroom.recipe.sentences import place, sentence
from stillroom.reproduce.published import Published

SCALES = ("tiny", "small", "paper")
_SIZED = ("base", "seeds", "rates", "trial", "set", "test")
_SHARED = ("about", "against", "baseline", "variants")
_OURS = ("minutes", "tiny", "paper", "published", "like")


@dataclass(frozen=True)
class Experiment:
    """`comparison` holds the keys of a comparison file, its base as a mapping."""

    comparison: dict[str, Any]
    published: Published | None


def read_experiment(path: Path, scale: str) -> Experiment:
    """The experiment in a file at one scale; `BadInput` with file and line where it is malformed."""
    if scale not in SCALES:
        raise BadInput(f"--scale {scale}: expected {', '.join(SCALES)}{did_you_mean(scale, SCALES)}")
    document = _read(path)
    values = document.values
    if values.get("base") is None and scale != "paper":
        raise BadInput(f"{path} has no size but the paper's: use --scale paper")
    if scale == "paper" and not values.get("paper"):
        raise BadInput(f"{path} has no section paper; use --scale tiny or --scale small")
    sized = _at(values, scale)
    comparison = {key: values[key] for key in _SHARED if key in values} | sized
    only = (values.get("tiny") or {}).get("variants") if scale == "tiny" else None
    if only:
        known = values.get("variants") or {}
        if unknown := [name for name in only if name not in known]:
            hint = did_you_mean(unknown[0], known)
            raise BadInput(f"{path}: tiny.variants: no variant {unknown[0]!r}{hint}")
        kept = {*only, values.get("against")}
        comparison["variants"] = {name: each for name, each in known.items() if name in kept}
    comparison["base"] = _base(comparison.get("base"), path)
    published = _published(values, document, path)
    if published is not None:
        exams = (comparison.get("test") or {}).get("on") or ()
        published.check_keys(scale, exams, f"{path}: ")
        comparison["published"] = published.rows
    return Experiment(comparison, published)


def _read(path: Path) -> strict_yaml.Document:
    """The file, with the keys of the one that it is `like` under its own."""
    document = strict_yaml.read(path)
    if document.duplicates:
        raise BadInput("\n".join(document.duplicates))
    if not isinstance(document.values, dict):
        raise BadInput(f"{path}: expected keys such as about: and variants: at the top")
    if like := document.values.get("like"):
        other = _read(path.parent / str(like))
        document.values = _over(other.values, document.values)
        document.origins = {**other.origins, **document.origins}
    _check_keys(document)
    return document


def _check_keys(document: strict_yaml.Document) -> None:
    known = {(): (*_SHARED, *_SIZED, *_OURS), ("tiny",): (*_SIZED, "variants"), ("paper",): _SIZED}
    for section, keys in known.items():
        given = document.values.get(section[0]) or {} if section else document.values
        if not isinstance(given, dict):
            raise BadInput(f"{place(section, document.origins)}expected a mapping of keys")
        for key in given:
            if key not in keys:
                where = place((*section, key), document.origins)
                raise BadInput(f"{where}unknown key{did_you_mean(key, keys)}")


def _over(under: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over those of the other file; inside tiny, paper and published, key by key."""
    merged = {**under, **values}
    for section in ("tiny", "paper", "published"):
        if isinstance(under.get(section), dict) and isinstance(values.get(section), dict):
            merged[section] = {**under[section], **values[section]}
    return merged


def _at(values: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """What belongs to one scale: the paper's stands alone, tiny is small with a few keys changed."""
    if scale == "paper":
        return dict(values["paper"])
    small = {key: values[key] for key in _SIZED if key in values}
    if scale == "small":
        return small
    tiny = {key: value for key, value in (values.get("tiny") or {}).items() if key in _SIZED}
    added = {key: {**(small.get(key) or {}), **(tiny.get(key) or {})} for key in ("set", "trial")}
    return small | tiny | {key: value for key, value in added.items() if value}


def _base(base: Any, path: Path) -> Any:
    if not isinstance(base, str):
        return base
    return strict_yaml.read(path.parent / base).values


def _published(values: Mapping[str, Any], document: strict_yaml.Document, path: Path) -> Published | None:
    if values.get("published") is None:
        return None
    try:
        published = Published.model_validate(values["published"])
    except ValidationError as error:
        lines = []
        for details in error.errors(include_url=False):
            where = place(("published", *details["loc"]), document.origins)
            unknown = details["type"] == "extra_forbidden"
            lines.append(where + ("unknown key" if unknown else sentence(details)))
        raise BadInput("\n".join(lines)) from error
    published.check(values.get("variants") or {}, f"{path}: ")
    return published
