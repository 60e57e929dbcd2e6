"""What a recipe is: sections, keys, ranges and defaults. Every key is described where it is declared.

Validation is complete but for files (`stillroom.recipe.files`): `Recipe.model_validate(values)` refuses
unknown keys, values out of range and contradictions, all at once, and fills in every default, so that
`to_yaml` writes a recipe that says everything. Needs neither torch nor transformers.
"""

import os
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from stillroom.recipe import contradictions, strict_yaml
from stillroom.recipe.objective_settings import OURS, check_settings
from stillroom.recipe.problems import refuse, shown, wrong
from stillroom.recipe.training_arguments import check_training, default_training

PYTHON_DOCS = "python-docs"
METRICS = ("loss", "perplexity", "agreement", "teacher_kl", "rouge_l")

_LATER = {
    "teacher": ("served",),
    "tokens": ("student", "mixed", "speculative", "teacher"),
}


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong(f"expected a number, got {shown(value)}")
    return value


def _known_use(section: str, *known: str) -> Any:
    def check(value: Any) -> Any:
        if section == "teacher" and value == "ensemble":
            sentence = "several teachers need no word here: name the first under model, the rest under others"
            raise wrong(sentence)
        if value in _LATER[section]:
            names = " and ".join(map(repr, known))
            sentence = f"{value!r} is a name reserved for a later version; this one knows {names}"
            raise wrong(sentence)
        return value

    return BeforeValidator(check)


def _text_or_list(value: Any) -> Any:
    if isinstance(value, str) or (
        isinstance(value, list) and value and all(isinstance(v, str) for v in value)
    ):
        return value
    sentence = f"expected text or a list of texts, got {shown(value)}"
    raise wrong(sentence)


Whole = Annotated[int, BeforeValidator(_not_boolean)]
Number = Annotated[float, BeforeValidator(_not_boolean), Field(allow_inf_nan=False)]
Source = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
"""A local path (`~` is the home folder; relative to where the command is started) or a name on the Hugging
Face hub."""


class Section(BaseModel):
    """A mapping in the recipe that knows all its keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Lora(Section):
    """Low-rank adapters: they are trained instead of the student's own weights. The run folder's `student/` has them
    merged in, `adapter/` holds them alone."""

    r: Annotated[Whole, Field(ge=1)] = 16
    """Rank of the adapters."""
    alpha: Annotated[Number, Field(gt=0)] = 32.0
    """The adapters are scaled by alpha / r."""
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Dropout before the adapters."""
    target_modules: Annotated[Any, AfterValidator(_text_or_list)] = "all-linear"
    """Which linear layers: `all-linear` (all but the head), a pattern, or a list of names."""


class Student(Section):
    """The model that learns."""

    model: Source
    """Model and tokenizer: a local folder or a name on the hub."""
    init: Literal["pretrained", "random"] = "pretrained"
    """`pretrained` loads the weights; `random` makes new ones of the same architecture, from `seed`."""
    config: dict[str, Any] = {}
    """Entries that replace those of the model's configuration, such as `num_attention_heads: 2`; only with
    `init: random`. What follows from them is made anew, unless `config.json` says it."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the weights; `auto` keeps that of the files. (`training.bf16` computes in bfloat16
    beside it.)"""
    lora: Lora | None = None
    """Train low-rank adapters instead of all weights; null trains all."""


class Teacher(Section):
    """The model that is learned from."""

    use: Annotated[Literal["live", "cached"], _known_use("teacher", "live", "cached")] = "live"
    """`live`: the teacher runs beside the student. `cached`: its answers are read from `cache`, and its weights are
    not loaded."""
    model: Source
    """Model and tokenizer: a local folder or a name on the hub."""
    others: list[Source] = []
    """Further teachers with the same vocabulary, folders or names on the hub: they and `model` speak as one. What is
    asked of attention and hidden states is answered by `model` alone."""
    combine: Literal["logits", "probabilities"] = "logits"
    """What is averaged where there are `others`: `logits`, or `probabilities`."""
    shares: list[Annotated[Number, Field(gt=0)]] | None = None
    """How much each teacher counts in that mean, `model` first; divided by their sum; null: all alike."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto` keeps that of the files."""
    cache: Source | None = None
    """The folder that `stillroom cache` writes and `use: cached` reads."""
    preflight: Literal["refuse", "note", "off"] = "refuse"
    """Before training, ask whether this is a teacher (`stillroom preflight`): `refuse` the run where it is clearly
    none, or only `note` it, or do not ask."""


class SpansChoice(Section):
    """Words and phrases of the responses, for objectives that compare them (`span.mta`)."""

    use: Literal["textblob", "spacy", "windows", "given"] = "textblob"
    """Who cuts: `textblob` (English; the extra `spans`), `spacy` with a `pipeline`, `windows` (any language: words, and
    runs of up to three of them as phrases), or `given`: the records bring their spans."""
    pipeline: Source | None = None
    """With `spacy`: the name of an installed pipeline, or its folder."""
    field: Annotated[str, Field(min_length=1)] = "spans"
    """With `given`: the column, `{"words": [[start, end], ...], "phrases": [[start, end, "NP"], ...]}`."""
    offsets: Literal["bytes", "letters"] = "bytes"
    """With `given`: what start and end count in the response."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class Data(Section):
    """The text that both models read."""

    train: Source
    """JSONL, JSON or Parquet file, a data set on the hub (`name` or `name:config`), or `python-docs`:
    questions and answers made from the documentation of the installed Python."""
    eval: Source | None = None
    """Held-out text in the same forms; null: nothing is evaluated. With `train: python-docs` it is
    `python-docs` too (modules that are not trained on)."""
    train_split: str = "train"
    """Split of a data set on the hub that is trained on; files have none."""
    eval_split: str = "test"
    """Split of a data set on the hub that is evaluated on; files have none."""
    template: Literal["alpaca", "chat", "plain"] = "alpaca"
    """How a record becomes text: Alpaca's words, the tokenizer's chat template, or prompt and response as
    they are."""
    max_length: Annotated[Whole, Field(ge=8)] = 512
    """Tokens of a sample, prompt and response together; longer responses are cut."""
    max_prompt_length: Annotated[Whole, Field(ge=1)] | None = None
    """Tokens of a prompt, of which the last are kept; null: half of `max_length`."""
    train_on: Literal["responses", "all_assistant", "everything"] = "responses"
    """Which tokens are learned: the last response, every assistant turn, or the prompts too."""
    on_bad_record: Literal["refuse", "skip"] = "refuse"
    """What a malformed record does: stop with its line, or be counted and left out."""
    limit: Annotated[Whole, Field(ge=1)] | None = None
    """Use only the first so many records for training; null: all."""
    eval_limit: Annotated[Whole, Field(ge=1)] | None = None
    """Use only the first so many records for evaluation; null: all."""
    spans: SpansChoice | None = None
    """How the training text is cut where an objective asks for words or phrases; null: by `textblob`. A name alone says
    `use`."""

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without spans it is written as before there were such: runs are known by what is written."""
        values = written(self)
        if self.spans is None:
            del values["spans"]
        return values


class Tokens(Section):
    """Where the tokens that are trained on come from."""

    use: Annotated[Literal["dataset"], _known_use("tokens", "dataset")] = "dataset"
    """`dataset`: the responses of the data set."""


class ObjectiveChoice(BaseModel):
    """One objective, its weight, and its own settings beside them (`stillroom list` shows those)."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    use: Annotated[str, Field(min_length=1)]
    """Name in the catalog, such as `logits.forward_kl`, or the import path of your own."""
    weight: Annotated[Number, Field(ge=0)] = 1.0
    """Share in the total loss; 0 computes and records the objective without training on it."""
    learning_rate: Annotated[Number, Field(ge=0)] | None = None
    """Learning rate of the parts that this objective trains (projectors), at its highest; null: that of the student; 0
    leaves them as they began. The schedule is one for all."""

    @property
    def settings(self) -> dict[str, Any]:
        """The objective's own settings, defaults included."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        value = {"use": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("use"), str):
            return value
        own = {key: value[key] for key in OURS if key in value}
        return own | check_settings(value["use"], {k: v for k, v in value.items() if k not in own})

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a rate of its own it is written as before there were such: runs are known by what is written."""
        values = written(self)
        if self.learning_rate is None:
            del values["learning_rate"]
        return values


class Evaluation(Section):
    """What is measured on the held-out text, before and after training."""

    metrics: (
        list[
            Literal[
                "loss",
                "perplexity",
                "agreement",
                "teacher_kl",
                "rouge_l",
                "bits_per_byte",
                "calibration_error",
                "confidence_gap",
                "teacher_calibration_error",
            ]
        ]
        | None
    ) = None
    """`loss`, `perplexity`, `agreement`, `teacher_kl`, `rouge_l`; null: all of these that can be measured with what is
    given. Only when named: `bits_per_byte` (always measured where student and teacher have two vocabularies),
    `calibration_error`, and against the teacher `confidence_gap` and `teacher_calibration_error`."""
    baselines: bool = True
    """Mark the teacher and the student before training as well; false where another run has done it."""
    prompts: Annotated[Whole, Field(ge=0)] = 100
    """Held-out prompts that the models answer (for `rouge_l` and to read side by side); 0: none."""
    max_new_tokens: Annotated[Whole, Field(ge=1)] = 256
    """Tokens of an answer at most."""
    sampling_temperature: Annotated[Number, Field(ge=0)] = 0.0
    """Temperature of the sampler; 0 takes the likeliest token each time."""
    batch_size: Annotated[Whole, Field(ge=1)] = 16
    """Samples that are evaluated at once, on each device."""


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


class Recipe(Section):
    """One run: who learns what from whom, on which text, and where the results go."""

    student: Student
    """The model that learns."""
    teacher: Teacher | None = None
    """The model that is learned from; null where all objectives are `hard.*`."""
    data: Data
    """The text that both models read."""
    tokens: Annotated[Tokens, BeforeValidator(_none_is_empty)] = Field(default_factory=Tokens)
    """Where the tokens that are trained on come from."""
    objectives: Annotated[list[ObjectiveChoice], Field(min_length=1)]
    """What is compared: a list of `{use: name, weight: 1.0, ...}`, or of bare names; the total is the
    weighted sum."""
    training: Annotated[dict[str, Any], BeforeValidator(_none_is_empty), AfterValidator(check_training)] = (
        Field(default_factory=dict)
    )
    """Fields of `transformers.TrainingArguments`, unchanged."""
    evaluation: Annotated[Evaluation, BeforeValidator(_none_is_empty)] = Field(default_factory=Evaluation)
    """What is measured on the held-out text, before and after training."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 10
    """Start of all random numbers: new weights, order of the data, dropout, sampling."""
    output: Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
    """The folder that the run writes."""

    @model_validator(mode="after")
    def _settle(self) -> "Recipe":
        if self.data.eval is None and self.data.train == PYTHON_DOCS:
            self.data.eval = PYTHON_DOCS
        refuse(contradictions.find(self))
        given = self.training
        from_scratch = self.student.init == "random" or self.student.lora is not None
        defaults = default_training(
            from_scratch=from_scratch,
            has_eval=self.data.eval is not None,
            max_steps=given.get("max_steps", -1),
        )
        self.training = defaults | given
        if self.evaluation.metrics is None:
            self.evaluation.metrics = [name for name in METRICS if self._can_measure(name)]
        return self

    def _can_measure(self, metric: str) -> bool:
        has_model = self.teacher is not None and self.teacher.use == "live"
        if self.data.eval is None or (metric in contradictions.NEEDS_TEACHER and not has_model):
            return False
        return metric != "rouge_l" or self.evaluation.prompts > 0

    @property
    def objective_names(self) -> list[str]:
        """One name for each objective, for curves and tables: a repeated one gets `#2`, `#3`."""
        seen: Counter[str] = Counter()
        names = []
        for objective in self.objectives:
            seen[objective.use] += 1
            count = seen[objective.use]
            names.append(objective.use if count == 1 else f"{objective.use}#{count}")
        return names

    @property
    def warnings(self) -> list[str]:
        """Sentences about what is allowed but probably not meant."""
        return contradictions.doubts(self)

    def to_yaml(self) -> str:
        """The resolved recipe, every default written out; loading it gives an equal recipe."""
        return strict_yaml.dump(self.model_dump(mode="json"))
