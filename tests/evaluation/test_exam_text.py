import pytest
import torch
from folders import tiny_tokenizer
from tiny import tiny_llama

from stillroom.data.columns import Instruction, Sample
from stillroom.data.encode import encode
from stillroom.data.prompts import prompts_for_generation
from stillroom.evaluation.exam_text import exam_prompts, exam_responses
from stillroom.evaluation.generation import generate
from stillroom.evaluation.protocol import CLEAN, MINILLM


def sample(index, question, *references):
    return Sample(index, f"test:{index}", Instruction(question), references[0], references)


SAMPLES = [
    sample(0, "What is the stillroom?", "A room where things are distilled.", "A house."),
    sample(1, "Say it again. " * 60, "No."),
    sample(2, "And this?", "  "),
]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def with_begin():
    """A tokenizer that puts a token before every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<pad> $A", special_tokens=[("<pad>", 1)]
    )
    return tokenizer


def test_clean_gives_the_ids_of_training(tokenizer, with_begin):
    for each in (tokenizer, with_begin):
        prompts, cut = exam_prompts(SAMPLES, each, CLEAN)
        assert prompts == prompts_for_generation(SAMPLES, each, "alpaca", 256)
        assert cut == 1
        ours = exam_responses(SAMPLES, prompts, each, CLEAN)
        theirs = encode(SAMPLES, each, "alpaca", 512, on_bad_record="skip")
        assert len(ours) == len(theirs) == 2
        for a, b in zip(ours, theirs, strict=True):
            assert a["input_ids"].tolist() == b["input_ids"].tolist()
            assert a["response_mask"].tolist() == b["response_mask"].tolist()
            assert a["sample_ids"] == b["sample_ids"]


def test_minillm_keeps_the_first_tokens_and_loses_the_words_that_ask(with_begin):
    prompts, cut = exam_prompts(SAMPLES, with_begin, MINILLM)
    whole = with_begin(prompts[1].text, add_special_tokens=False)["input_ids"]
    assert cut == 1
    assert len(whole) > 256
    assert prompts[1].ids == whole[:256]
    assert "### Response:" not in with_begin.decode(prompts[1].ids)
    assert "### Response:" in with_begin.decode(prompts[0].ids)
    assert prompts[0].ids[0] != 1, "MiniLLM adds no begin token"
    kept, _ = exam_prompts(SAMPLES, with_begin, CLEAN)
    assert with_begin.decode(kept[1].ids).endswith("### Response:\n")
    assert len(kept[1].ids) == 256


def test_responses_are_cut_at_the_whole_length_and_end_once(tokenizer):
    long = [sample(0, "Q", "word " * 900)]
    prompts, _ = exam_prompts(long, tokenizer, CLEAN)
    (item,) = exam_responses(long, prompts, tokenizer, CLEAN)
    assert len(item["input_ids"]) == 512
    assert item["input_ids"][-1] != tokenizer.eos_token_id
    short = SAMPLES[:1]
    prompts, _ = exam_prompts(short, tokenizer, CLEAN)
    (ended,) = exam_responses(short, prompts, tokenizer, CLEAN)
    (open_,) = exam_responses(short, prompts, tokenizer, CLEAN, ends=False)
    assert ended["input_ids"].tolist() == [*open_["input_ids"].tolist(), tokenizer.eos_token_id]
    assert exam_responses(SAMPLES[2:], prompts, tokenizer, CLEAN) is None


def test_minillm_scores_256_tokens_of_a_reference_and_no_end(tokenizer):
    """Its `lm_loss` masks the padding token, which is the end token, and cuts references at 512 - 256."""
    asked = [sample(0, "Q", "word " * 900), SAMPLES[0]]
    prompts, _ = exam_prompts(asked, tokenizer, MINILLM)
    long, short = exam_responses(asked, prompts, tokenizer, MINILLM)
    assert len(prompts[0].ids) < 256
    assert int(long["response_mask"].sum()) == 256
    reference = tokenizer(asked[1].response, add_special_tokens=False)["input_ids"]
    assert short["input_ids"][short["response_mask"]].tolist() == reference


def test_padding_to_exactly_the_limit_changes_no_text(tokenizer):
    """MiniLLM pads every prompt to 256 on the left; we only to the longest of a batch. Both write the same."""
    model = tiny_llama(seed=3, vocab_size=len(tokenizer)).double().eval()
    model.config.max_position_embeddings = 512
    prompts, _ = exam_prompts(SAMPLES, tokenizer, MINILLM)
    settings = {"max_new_tokens": 80, "batch_size": 2}  # longer than two rounds of generation
    ours = generate(model, prompts, tokenizer, no_repeat_ngram_size=6, **settings)
    ids = torch.tensor([[0] * (256 - len(each.ids)) + each.ids for each in prompts])
    mask = torch.tensor([[0] * (256 - len(each.ids)) + [1] * len(each.ids) for each in prompts])
    theirs = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=80,
        do_sample=False,
        no_repeat_ngram_size=6,
        pad_token_id=0,
        eos_token_id=0,
    )[:, 256:]
    assert ours.texts == tokenizer.batch_decode(theirs, skip_special_tokens=True)
    free = generate(model, prompts, tokenizer, **settings)
    assert ours.texts != free.texts, "nothing was repeated, so nothing was forbidden"
