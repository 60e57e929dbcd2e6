"""Everything that can be known and refused before a weight is loaded: tokenizers, text, vocabularies, objectives."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.core.objective import Objective
from stillroom.core.progress import Advance, Display, Silent
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Request
from stillroom.recipe import spans
from stillroom.recipe.contradictions import NEEDS_TEACHER
from stillroom.recipe.identity import content_hash, weights_hash
from stillroom.recipe.models import check_causal, empty_model, load_config, load_tokenizer
from stillroom.recipe.other_teachers import read_others, sources, try_together
from stillroom.recipe.schema import PYTHON_DOCS, Recipe, SpansChoice
from stillroom.recipe.two_vocabularies import (
    check_two,
    on_two_vocabularies,
    rows_without_tokens,
    wants_tokens,
)
from stillroom.recipe.vocabularies import Vocabularies, read_vocabularies

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from stillroom.data.columns import Sample, Samples
    from stillroom.data.dataset import EncodedDataset, PairedDataset
    from stillroom.data.prompts import PromptItem
    from stillroom.teachers.cached import CachedTeacher


@dataclass
class Prepared:
    """A recipe whose text is encoded and whose parts have been checked against each other."""

    recipe: Recipe
    tokenizer: "PreTrainedTokenizerBase"
    train: "EncodedDataset | PairedDataset"
    """Under two tokenizers where there are two vocabularies."""
    evaluation: "EncodedDataset | None"
    prompts: "list[PromptItem]"
    vocabularies: Vocabularies
    sizes: dict[str, int]
    """Parameters of student and teacher."""
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What run.json says of the text."""
    notes: list[str] = field(default_factory=list)
    """Sentences a person should see."""
    teacher_config: "PreTrainedConfig | None" = None
    teacher_shape: ModelShape | None = None
    teacher_requests: tuple[Request, ...] = ()
    """What the objectives read of the teacher."""
    teacher_tokenizer: "PreTrainedTokenizerBase | None" = None
    probe: "list[Sample]" = field(default_factory=list)
    """A few samples to ask the teacher about before training: of the held-out text, where there is some."""
    files: dict[str, str] = field(default_factory=dict)
    """Files that objectives have read, each with the SHA-256 of its content."""
    cached: "CachedTeacher | None" = None
    """The teacher, where it answers from a cache."""
    teacher_evaluation: "EncodedDataset | None" = None
    """The held-out text as a teacher with a tokenizer of its own reads it."""
    teacher_prompts: "list[PromptItem]" = field(default_factory=list)

    @property
    def vocab_size(self) -> int:
        """Rows of the student's head that take part."""
        return self.vocabularies.student.size

    @property
    def metrics(self) -> list[str]:
        """Those of the recipe that can be measured on the held-out text. Over two vocabularies losses are comparable by
        byte only, so that is measured, too."""
        wished = self.recipe.evaluation.metrics or []
        if self.evaluation is None or not wished:
            return []
        if not self.vocabularies.are_two:
            return list(wished)
        alone = [name for name in wished if name not in NEEDS_TEACHER]
        return list(dict.fromkeys([*alone, "bits_per_byte"]))

    @property
    def taught(self) -> "EncodedDataset":
        """The training text as the teacher reads it."""
        from stillroom.recipe.encoding import sides

        ours, theirs = sides(self.train)
        return theirs or ours


def prepare(recipe: Recipe, display: Display | None = None) -> Prepared:
    """Read and encode the text, compare the vocabularies, try the objectives on the shapes. Raises `BadInput`."""
    display = display or Silent()
    with display.task("Reading models and text") as advance:
        advance(0, 3, "tokenizers")
        configs = {"student": load_config(recipe.student.model, "student", recipe.student.config)}
        check_causal(configs["student"], recipe.student.model, "student")
        tokenizer = load_tokenizer(recipe.student.model, "student")
        if recipe.teacher is not None:
            configs["teacher"] = load_config(recipe.teacher.model, "teacher")
            check_causal(configs["teacher"], recipe.teacher.model, "teacher")
        notes = list(recipe.warnings)
        tokenizers = {"student": tokenizer}
        if recipe.teacher is not None:
            tokenizers["teacher"] = load_tokenizer(recipe.teacher.model, "teacher")
        others = read_others(recipe, tokenizer, configs["student"])
        objectives = make_objectives(recipe)
        vocabularies = read_vocabularies(
            tokenizers, configs, others, wants_tokens(recipe, objectives.values())
        )
        if vocabularies.are_two:
            notes += on_two_vocabularies(recipe, vocabularies)
        elif recipe.data.template == "chat" and recipe.teacher is not None:
            _check_templates(tokenizers)
        notes += rows_without_tokens(vocabularies, configs, others)
        advance(1, 3, "objectives")
        sizes, shapes, requests, files = _try_objectives(recipe, objectives, configs, vocabularies)
        if recipe.teacher is not None:
            size = vocabularies.teacher.size
            sizes["teacher"], found = try_together(recipe.teacher, others, size, requests, sizes)
            notes += found
        advance(2, 3, "text")
        chosen = spans.wanted(recipe, objectives.values())
        prepared = _encode(recipe, tokenizers, vocabularies, sizes, notes, chosen, advance)
        _check_room(prepared, configs)
        _check_lengths(prepared, configs, others)
        prepared.teacher_config, prepared.teacher_shape = configs.get("teacher"), shapes.get("teacher")
        prepared.teacher_requests, prepared.files = requests, files
        advance(3, 3, f"{prepared.data['train']['response_tokens']:,} response tokens to train on")
    if recipe.teacher is not None and recipe.teacher.use == "cached":
        _open_cache(prepared, display)
    return prepared


def _check_room(prepared: Prepared, configs: "Mapping[str, PreTrainedConfig]") -> None:
    """Answers are written after hours of training; whether they fit is known now."""
    wishes, teacher = prepared.recipe.evaluation, prepared.recipe.teacher
    writes = {"student": prepared.prompts}
    if teacher is not None and teacher.use == "live" and not teacher.others and wishes.baselines:
        writes["teacher"] = prepared.teacher_prompts
    if any(not prompt.ids for prompts in writes.values() for prompt in prompts):
        raise BadInput(
            "evaluation.prompts: held-out text has no prompt, and the tokenizer puts nothing before a text, so that no "
            "answer can be begun; set evaluation.prompts: 0"
        )
    for role, prompts in writes.items():
        longest = max((len(prompt.ids) for prompt in prompts), default=0)
        positions = getattr(configs[role].get_text_config(decoder=True), "max_position_embeddings", None)
        if longest and positions is not None and longest + wishes.max_new_tokens > positions:
            raise BadInput(
                f"evaluation.max_new_tokens: the longest prompt has {longest} tokens and {wishes.max_new_tokens} are "
                f"to be added, but the {role} has {positions} positions; lower it or data.max_prompt_length, or set "
                "evaluation.prompts: 0"
            )


def _check_lengths(
    prepared: Prepared, configs: "Mapping[str, PreTrainedConfig]", others: "list[PreTrainedConfig]"
) -> None:
    """Positions that are computed go on beyond what a model was trained with; those of a table end with it."""
    from stillroom.recipe.encoding import sides
    from stillroom.taps.structure import has_position_table

    teacher = prepared.recipe.teacher
    ours = [sides(prepared.train)[0], prepared.evaluation]
    theirs = [prepared.taught, prepared.teacher_evaluation or prepared.evaluation]
    reading = [("student", configs["student"], ours)]
    if teacher is not None and teacher.use == "live":
        reading += [("teacher", each, theirs) for each in (configs["teacher"], *others)]
    for role, config, read in reading:
        longest = max(max(each.lengths) for each in read if each)
        positions = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        if positions is not None and longest > positions and has_position_table(empty_model(config)):
            raise BadInput(
                f"data.max_length: the longest sample has {longest} tokens, but the {role} ({config.model_type}) has "
                f"{positions} positions; lower it to {positions} or less"
            )


def make_objectives(recipe: Recipe) -> dict[str, Objective]:
    """New objectives by their names in curves and tables."""
    from stillroom.objectives import find

    made = {}
    for number, (name, choice) in enumerate(zip(recipe.objective_names, recipe.objectives, strict=True)):
        with _about(number):
            made[name] = find(choice.use)(**choice.settings)
    return made


@contextmanager
def _about(number: int, words: str = "") -> Iterator[None]:
    """Says of a complaint which of the recipe's objectives it is about."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"objectives.{number}: {words}{error}") from error


def _check_templates(tokenizers: "Mapping[str, PreTrainedTokenizerBase]") -> None:
    from stillroom.data.chat import check_same_chat_template

    check_same_chat_template(tokenizers["student"], tokenizers["teacher"])


def _open_cache(prepared: Prepared, display: Display) -> None:
    from stillroom.recipe.cached import notes_on, open_cache

    assert prepared.teacher_config is not None
    assert prepared.teacher_shape is not None
    with display.task("Verifying the cache of the teacher") as advance:
        prepared.cached = open_cache(
            prepared.recipe,
            prepared.teacher_config,
            prepared.teacher_shape,
            prepared.teacher_requests,
            prepared.taught,
            advance,
        )
    assert prepared.recipe.teacher is not None
    prepared.notes += notes_on(prepared.cached, sources(prepared.recipe.teacher))


def _try_objectives(
    recipe: Recipe,
    objectives: Mapping[str, Objective],
    configs: "dict[str, PreTrainedConfig]",
    vocabularies: Vocabularies,
) -> tuple[dict[str, int], dict[str, ModelShape], tuple[Request, ...], dict[str, str]]:
    """Set the objectives up on the shapes alone, so that a bad pair is refused now and not after the weights.

    Parameters and shape of each model, what the objectives read of the teacher, and their files with content hashes.
    """
    from stillroom.taps.shape import model_shape
    from stillroom.taps.structure import check_structure

    models = {role: empty_model(config) for role, config in configs.items()}
    shapes = {
        role: model_shape(models[role], each.size, each.identity, each.tokens, each.end_token)
        for role, each in (("student", vocabularies.student), ("teacher", vocabularies.teacher))
        if role in models
    }
    requests: dict[Request, None] = {}
    files: dict[str, str] = {}
    for number, objective in enumerate(objectives.values()):
        with _about(number):
            check_two(recipe.objectives[number].use, objective, vocabularies)
            reads = objective.setup(shapes["student"], shapes.get("teacher", shapes["student"]))
            _check_measured(objective, recipe)
        for role, asked in (("student", reads.student), ("teacher", reads.teacher)):
            if role in models:
                with _about(number, f"{recipe.objectives[number].use} cannot be asked of the {role}: "):
                    check_structure(models[role], asked)
        if reads.teacher and recipe.teacher is None:
            raise BadInput(
                f"{type(objective).__name__} reads signals of a teacher; name one under teacher.model"
            )
        requests |= dict.fromkeys(reads.teacher)
        files |= {path: content_hash(path) for path in objective.files()}
    sizes = {role: sum(each.numel() for each in model.parameters()) for role, model in models.items()}
    return sizes, shapes, tuple(requests), files


def _check_measured(objective: Objective, recipe: Recipe) -> None:
    """What was measured on a teacher says nothing of another one."""
    for path, weights in objective.measured_on().items():
        if recipe.teacher is not None and weights_hash(recipe.teacher.model) not in (None, weights):
            raise BadInput(
                f"{path} was written for another teacher: its weights are not those of {recipe.teacher.model}; run "
                "`stillroom match-heads` on this recipe"
            )


def _encode(
    recipe: Recipe,
    tokenizers: "Mapping[str, PreTrainedTokenizerBase]",
    vocabularies: Vocabularies,
    sizes: dict[str, int],
    notes: list[str],
    chosen: SpansChoice | None,
    advance: Advance,
) -> Prepared:
    from stillroom.recipe.encoding import Encoding, sides
    from stillroom.recipe.probe import draw

    encoding = Encoding(recipe, tokenizers, vocabularies)
    given = chosen.field if chosen is not None and chosen.use == "given" else None
    train_samples, eval_samples = read_samples(recipe, given)
    segment = chosen and spans.Segmentation(chosen, vocabularies, len(train_samples), advance)
    train = encoding.paired(train_samples, segment)
    arguments = recipe.training
    batch = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    train.require(batch * int(os.environ.get("WORLD_SIZE", "1")))
    prepared = Prepared(
        recipe,
        tokenizers["student"],
        train,
        None,
        [],
        vocabularies,
        sizes,
        {"train": _facts(train_samples, train)},
        notes,
        probe=draw(eval_samples or train_samples, recipe.seed),
        teacher_tokenizer=tokenizers.get("teacher"),
    )
    if recipe.data.spans is not None and segment is None:
        notes.append("data.spans has no effect: no objective compares words or phrases.")
    if segment is not None:
        prepared.data["train"]["segmenter"] = segment.identity
        notes += spans.notes(segment.identity, train.report)
    if eval_samples is not None:
        held_out = encoding.paired(eval_samples, on_bad_record="skip", train_on="responses")
        prepared.evaluation, prepared.teacher_evaluation = sides(held_out)
        prepared.data["eval"] = _facts(eval_samples, held_out)
        asked = eval_samples[: recipe.evaluation.prompts]
        prepared.prompts, prepared.teacher_prompts = encoding.prompts(asked)
        notes += _shared_questions(train_samples, eval_samples)
    for split, counted in prepared.data.items():
        notes += [f"{split}: {sentence}" for sentence in _losses(counted)]
    return prepared


def read_samples(recipe: Recipe, spans_field: str | None = None) -> "tuple[Samples, Samples | None]":
    """Training and evaluation samples, cut to the limits of the recipe; training samples with the spans of a column."""
    from dataclasses import replace

    from stillroom.data.columns import to_samples
    from stillroom.data.sources import read_records

    data = recipe.data
    train, held_out = data.train, data.eval
    if PYTHON_DOCS in (train, held_out):
        from stillroom.data.python_docs import harvest, write_harvest

        paths = write_harvest(harvest(), Path(recipe.output) / "data")
        train, held_out = (
            str(path) if source == PYTHON_DOCS else source
            for source, path in zip((train, held_out), paths, strict=True)
        )
    records = read_records(train, data.train_split, data.on_bad_record)
    samples = to_samples(records, data.on_bad_record, spans_field)
    samples = replace(samples, samples=samples.samples[: data.limit])
    if held_out is None:
        return samples, None
    others = to_samples(read_records(held_out, data.eval_split, data.on_bad_record), data.on_bad_record)
    return samples, replace(others, samples=others.samples[: data.eval_limit])


def _facts(samples: "Samples", encoded: "EncodedDataset | PairedDataset") -> dict[str, Any]:
    return {
        "source": samples.source,
        "sha256": samples.sha256,
        **encoded.report,
        "skipped_records": len(samples.skipped),
    }


def _losses(facts: dict[str, Any]) -> list[str]:
    words = {
        "skipped_records": "records could not be read and were left out",
        "dropped_empty": "samples with an empty response were left out",
        "dropped_no_response": "samples were left out because no response token fits",
        "teacher_dropped_no_response": "samples were left out because no response token fits on the teacher's side",
        "dropped_unaligned": "samples were left out because the student's tokenizer rewrites their text",
        "dropped_rewritten": "samples were left out because the two chat templates write their responses differently",
        "teacher_dropped_unaligned": "samples were left out because the teacher's tokenizer rewrites their text",
        "special_in_text": "samples spell a special token in their text; it was encoded as text",
    }
    return [f"{facts[key]} {sentence}." for key, sentence in words.items() if facts.get(key)]


def _shared_questions(train: "list[Sample] | Samples", evaluation: "list[Sample] | Samples") -> list[str]:
    from stillroom.data.overlap import overlap

    shared = overlap(train, evaluation)
    return [f"{shared}. Held-out numbers are too good by that much."] if shared.count else []
