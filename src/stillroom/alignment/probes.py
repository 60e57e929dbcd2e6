"""About two hundred strings on which tokenizers that are not the same tend to differ.

Words, casing, digits, white space, punctuation, code, many scripts, composed and decomposed letters, emoji,
and the text of special tokens: normalizers, pre-tokenizers and merges all leave their mark on some of them.
"""

# ruff: noqa: RUF001  letters that look like others are the point

from itertools import product

_WORDS = (
    *("hello", "Hello", "HELLO", " hello", "hello ", "distillation", "unbelievable"),
    "antidisestablishmentarianism",
)
_PROSE = (
    "The quick brown fox jumps over the lazy dog.",
    "It's what she'd said: they've gone, I'm here, we'll see, you're late.",
    "Don't DON'T don’t “quoted” ‘single’ — dash – en… ellipsis",
    "e.g. i.e. etc. Mr. Smith's U.S.A. co-operation",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
)
_NUMBERS = (
    *("0", "7", "10", "123", "1234", "12345", "1234567890", "007", "3.14159", "1,000,000", "-1e-5", "0x1F"),
    *("50%", "2026-11-22", "12:34:56", "$9.99", "1/2", "²³", "½", "٣٤", "१२", "Ⅷ", "x1y2z3", " 42", "42 "),
)
_SPACES = (
    *("", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n "),
    *("\u00a0", "\u2003", "\u200b", "\ufeff", "\x00"),
)
_GAPS = (" ", "  ", "    ", "\t", "\n", "\n\n", " \n", "\r\n", "\u3000")
_PUNCTUATION = (
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    *("...", "!!!", "?!", "--", "==", "/*", "*/", "</", "://"),
)
_CODE = (
    "def f(x):\n    return x ** 2\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "if x != None and y>=3:\n\tpass",
    '{"key": [1, 2.0, null, true], "s": "\\n\\u00e9"}',
    "SELECT * FROM t WHERE a = 'b';",
    '<div class="a">text &amp; more</div>',
    "https://example.org/path?query=1&b=%20#top",
    "user@example.org",
    "snake_case_name camelCaseName PascalCase kebab-case",
    "#include <stdio.h>\nint main(void) { return 0; }",
    "$\\frac{a}{b} \\leq \\sum_{i=1}^n x_i$",
    "C:\\Users\\name\\file.txt",
)
_SCRIPTS = (
    "Grüße aus Köln, straße, Ärger",
    "déjà vu, façade, cœur, où",
    "El niño comió piñas: ¿cuántas?",
    "İstanbul ışık şiir ğ",
    "Zażółć gęślą jaźń",
    "Привет, как дела? Ёлка",
    "Καλημέρα κόσμε, ΑΣΣΟΣ ς",
    "שלום עולם",
    "שָׁלוֹם",
    "مرحبا بالعالم",
    "مُحَمَّد ـــ",
    "नमस्ते दुनिया",
    "বাংলা ভাষা",
    "தமிழ் மொழி",
    "สวัสดีชาวโลก",
    "ສະບາຍດີ",
    "မြန်မာ",
    "你好,世界。繁體中文",
    "こんにちは、世界!カタカナ ガ ガ",
    "안녕하세요 세계",
    "한",
    "ગુજરાતી",
    "ქართული",
    "Հայերեն",
    "አማርኛ",
    "Tiếng Việt: Đường phố",
    "ꦧꦱꦗꦮ",
    "𐌰𐌱𐌲 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ABC",
)
_FORMS = (
    *("\u00e9", "e\u0301", "\u00c5", "\u212b", "A\u030a"),  # composed, compatible, decomposed
    *("\ufb01", "\ufb03", "\u00df", "\u1e9e", "\u2460", "\u338f", "\u03a9", "\u2126"),
    *("\u30a2", "\uff71", "\uff21\uff22\uff23", "\uac00", "\u1100\u1161"),  # kana, full width, Hangul
)
_EMOJI = ("😀", "👍🏽", "👨‍👩‍👧", "🇨🇭", "❤️", "❤", "☃", "🤖 robot", "\U0010fffd", "�")
_SPECIAL = (
    "<s>",
    "</s>",
    "<unk>",
    "<pad>",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[INST] hello [/INST]",
    "<|endoftext|>",
    "<|im_start|>user\nhello<|im_end|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<|user|>",
    "<|end|>",
    "<tool_call>",
    "<think>",
    "<0x0A>",
    "▁",
    "▁hello",
    "Ġhello",
    "##ing",
)

PROBES: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *_WORDS,
            *_PROSE,
            *_NUMBERS,
            *_SPACES,
            *(f"{left}{gap}{right}" for (left, right), gap in product((("a", "b"), ("x.", "(y")), _GAPS)),
            *_PUNCTUATION,
            *_CODE,
            *_SCRIPTS,
            *_FORMS,
            *_EMOJI,
            *_SPECIAL,
        )
    )
)
"""The probe strings, each once, always in this order."""
