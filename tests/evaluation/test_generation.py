import random
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_llama
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)

from stillroom.core.errors import BadInput
from stillroom.evaluation import _rounds
from stillroom.evaluation.generation import _race, generate

VOCABULARY = 37
END = 2


@pytest.fixture(scope="module")
def tokenizer():
    words = {"<pad>": 0, "<s>": 1, "</s>": END} | {f"w{index}": index for index in range(3, VOCABULARY)}
    words_only = Tokenizer(WordLevel(words, unk_token="<pad>"))
    words_only.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words_only, eos_token="</s>", bos_token="<s>", pad_token="<pad>"
    )


@pytest.fixture
def llama():
    return tiny_llama(seed=4).double()


def gpt2():
    set_seed(5)
    sizes = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(
        GPT2Config(**sizes, initializer_range=0.3, bos_token_id=1, eos_token_id=2)
    ).double()


def mistral():
    set_seed(6)
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=5,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return MistralForCausalLM(config).double()


def make_prompts(count=7, seed=0):
    generator = random.Random(seed)
    return [
        SimpleNamespace(ids=[generator.randrange(3, VOCABULARY) for _ in range(generator.randint(1, 9))])
        for _ in range(count)
    ]


def greedy(model, ids, length, end):
    """One prompt, no padding, no cache."""
    ids, new = list(ids), []
    model.eval()
    while len(new) < length and (not new or new[-1] != end):
        with torch.no_grad():
            new.append(
                int(model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax())
            )
    return new


def words(ids):
    return " ".join(f"w{index}" for index in ids if index >= 3)


@pytest.mark.parametrize(
    "make", [lambda: tiny_llama(seed=4).double(), gpt2, mistral], ids=["llama", "gpt2", "mistral"]
)
def test_greedy_equals_a_plain_loop_for_any_batch(make, tokenizer, monkeypatch):
    model, prompts = make(), make_prompts()
    free = greedy(model, prompts[0].ids, 20, end=None)
    end = free[5]  # a token that does come, so that some texts end early
    expected = [greedy(model, prompt.ids, 20, end) for prompt in prompts]
    assert len(set(map(len, expected))) > 1
    for batch_size, steps in [(1, 32), (4, 32), (7, 3), (7, 20), (3, 1)]:
        monkeypatch.setattr(_rounds, "ROUND", steps)
        found = generate(model, prompts, tokenizer, max_new_tokens=20, batch_size=batch_size, end_ids=[end])
        assert found.texts == [words(ids) for ids in expected], (batch_size, steps)
        assert found.tokens == sum(map(len, expected))
        assert found.seconds > 0
        assert found.tokens_per_second == pytest.approx(found.tokens / found.seconds)


def test_a_cache_that_cannot_be_cut_is_computed_again(llama, tokenizer, monkeypatch):
    prompts = make_prompts()
    expected = generate(llama, prompts, tokenizer, max_new_tokens=12).texts
    monkeypatch.setattr(_rounds, "ROUND", 4)
    monkeypatch.setattr(_rounds, "_rows", lambda cache, index: None)
    assert generate(llama, prompts, tokenizer, max_new_tokens=12).texts == expected


def test_the_end_token_of_the_tokenizer_ends_a_text_and_is_not_shown(llama, tokenizer):
    with torch.no_grad():
        llama.lm_head.weight[END] *= 2  # a little likelier than the others
    prompts = make_prompts(20)
    expected = [greedy(llama, prompt.ids, 10, END) for prompt in prompts]
    found = generate(llama, prompts, tokenizer, max_new_tokens=10)
    assert 0 < sum(ids[-1] == END for ids in expected) < 20
    assert found.texts == [words(ids) for ids in expected]
    assert found.tokens == sum(map(len, expected))


def test_the_defaults_of_a_model_do_not_leak_and_are_restored(llama, tokenizer, capfd):
    prompts = make_prompts()
    expected = generate(llama, prompts, tokenizer, max_new_tokens=10).texts
    own = GenerationConfig(
        do_sample=True,
        temperature=9.0,
        top_k=3,
        repetition_penalty=5.0,
        min_new_tokens=7,
        max_length=11,
        suppress_tokens=list(range(3, 20)),
        eos_token_id=[5, 6, 7],
        num_beams=3,
        use_cache=False,
    )
    llama.generation_config = own
    llama.train()
    assert generate(llama, prompts, tokenizer, max_new_tokens=10).texts == expected
    assert llama.generation_config is own
    assert own.max_length == 11
    assert llama.training
    with pytest.raises(ZeroDivisionError):
        generate(llama, prompts, tokenizer, max_new_tokens=2, progress=lambda done, total: done / 0)
    assert llama.generation_config is own
    assert capfd.readouterr().err == ""


def test_sampling_depends_on_seed_and_prompt_alone(llama, tokenizer):
    prompts = make_prompts(9)
    settings = {"max_new_tokens": 15, "sampling_temperature": 1.3, "top_p": 0.95}
    state = torch.get_rng_state()
    first = generate(llama, prompts, tokenizer, seed=10, batch_size=9, **settings).texts
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert generate(llama, prompts, tokenizer, seed=10, batch_size=2, **settings).texts == first
    assert generate(llama, prompts[:4], tokenizer, seed=10, **settings).texts == first[:4]
    assert generate(llama, prompts, tokenizer, seed=20, **settings).texts != first
    twins = [prompts[0]] * 5
    assert len(set(generate(llama, twins, tokenizer, seed=10, **settings).texts)) > 1


def test_the_race_samples_the_softmax():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    draw = _race(torch.Generator().manual_seed(0))
    winners = draw(torch.zeros(20000, 1), probabilities.log().repeat(20000, 1)).argmax(dim=1)
    shares = torch.bincount(winners, minlength=5) / 20000
    torch.testing.assert_close(shares, probabilities, atol=0.012, rtol=0)  # over three standard deviations
    assert shares[4] == 0


def test_a_small_temperature_or_nucleus_is_greedy(llama, tokenizer):
    prompts = make_prompts()
    expected = generate(llama, prompts, tokenizer, max_new_tokens=10).texts
    cold = generate(llama, prompts, tokenizer, max_new_tokens=10, sampling_temperature=1e-6).texts
    narrow = generate(llama, prompts, tokenizer, max_new_tokens=10, sampling_temperature=1, top_p=1e-6).texts
    assert cold == expected
    assert narrow == expected


class Numbers:
    """A tokenizer whose texts show every id, special ones too."""

    eos_token_id = None

    def decode(self, ids, skip_special_tokens, clean_up_tokenization_spaces):
        return " ".join(map(str, ids))


def test_no_pair_of_tokens_comes_twice_where_that_is_forbidden(llama, monkeypatch):
    monkeypatch.setattr(_rounds, "ROUND", 6)
    prompts = make_prompts()

    def repeated_pairs(**settings):
        texts = generate(llama, prompts, Numbers(), max_new_tokens=40, batch_size=3, **settings).texts
        written = [
            prompt.ids + list(map(int, text.split())) for prompt, text in zip(prompts, texts, strict=True)
        ]
        assert [len(ids) - len(prompt.ids) for ids, prompt in zip(written, prompts, strict=True)] == [40] * 7
        return sum(len(ids) - 1 - len(set(pairwise(ids))) for ids in written)

    assert repeated_pairs() > 0
    assert repeated_pairs(no_repeat_ngram_size=2) == 0


def test_progress_counts_prompts_and_nothing_is_printed(llama, tokenizer, capfd):
    seen = []
    prompts = make_prompts(5)
    generate(
        llama, prompts, tokenizer, max_new_tokens=3, batch_size=2, progress=lambda *now: seen.append(now)
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert generate(llama, [], tokenizer, max_new_tokens=3).texts == []
    assert capfd.readouterr() == ("", "")


def test_bad_input_is_named_before_anything_is_generated(llama, tokenizer):
    prompts = make_prompts()
    with pytest.raises(BadInput, match=r"prompt 1 has no tokens"):
        generate(llama, [prompts[0], SimpleNamespace(ids=[])], tokenizer, max_new_tokens=3)
    with pytest.raises(BadInput, match=r"prompt 0 has 5 tokens and 60 are to be added, but the model has 64"):
        generate(llama, [SimpleNamespace(ids=[5] * 5)], tokenizer, max_new_tokens=60)
    for setting in ({"max_new_tokens": 0}, {"batch_size": 0}, {"sampling_temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(BadInput, match=next(iter(setting))):
            generate(llama, prompts, tokenizer, **{"max_new_tokens": 3} | setting)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_adapters_of_a_wrapped_model_are_active(llama, tokenizer):
    peft = pytest.importorskip("peft")
    prompts = make_prompts()
    plain = generate(llama, prompts, tokenizer, max_new_tokens=10).texts
    wrapped = peft.get_peft_model(llama.float(), peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    adapted = generate(wrapped, prompts, tokenizer, max_new_tokens=10).texts
    assert adapted != plain
    merged = wrapped.merge_and_unload()
    assert generate(merged, prompts, tokenizer, max_new_tokens=10).texts == adapted
