"""Rouge-L, as MiniLLM and DSKD report it.

    R = |LCS| / |reference|,  P = |LCS| / |prediction|,  F = 2 P R / (P + R)

over stemmed words (Porter), the best F over the references of a prompt, averaged over prompts, times 100.

Paper:    Lin (2004), ROUGE: A package for automatic evaluation of summaries
Code:     the `rouge-score` package, `RougeScorer(["rougeL"], use_stemmer=True)`
Differs:  nothing; `evaluate`'s "rouge" does (no stemming by default)

The package's tokenizer keeps only the characters a-z and 0-9: Chinese, Cyrillic or Arabic text scores 0
whatever it says, and accented letters split words. Do not use it for such data.
"""

from collections.abc import Sequence

from stillroom.core.errors import BadInput


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean Rouge-L F-measure, 0 to 100; each prediction is scored against its best reference.

    >>> round(rouge_l(["a cat ran"], [["the cats are running"]]), 2)
    28.57
    """
    if len(predictions) != len(references) or not predictions:
        raise BadInput(
            f"Rouge-L expects one list of references for each prediction, got {len(predictions)} predictions "
            f"and {len(references)} lists; give at least one prompt with a reference."
        )
    for index, known in enumerate(references):
        if not known or isinstance(known, str):
            raise BadInput(
                f"Rouge-L expects a list of at least one reference for prompt {index}, got {known!r}; "
                "give a reference for every prompt or leave rouge_l out."
            )
    # Imported here: it draws in nltk, which the command line does not need.
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    scores = (
        scorer.score_multi(list(known), prediction)["rougeL"].fmeasure
        for prediction, known in zip(predictions, references, strict=True)
    )
    return 100 * sum(scores) / len(predictions)
