//! For arbitrary text: ids are the library's own, budgets hold, completions stay, shared beginnings are shared.
//!
//! On tokenizers trained here with the splitting expressions and normalizers of several families, on one whose
//! expression is unknown (never cut), and on those of real models that the Python tests left in the user's cache.

use std::path::PathBuf;
use std::sync::LazyLock;

use opsd_assemble::{Budget, Chat, ContextTemplate, Error, Row, Templates, assemble};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{Tokenizer, TokenizerBuilder};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

const CORPUS: &str = "Write a Python function that adds two numbers and returns the sum of both.\n\
    def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n        print(i, i * i)\n\
    Correct solution:\n\nclass Solution:\n    def run(self, nums: list[int]) -> int:\n        return max(nums)\n\
    The following is feedback from your unsuccessful earlier attempt:\n\nTest Case 1: Wrong Answer 12 345\n";

const BY_THREE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BY_CASE: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

struct Family {
    name: String,
    chat: Chat,
    /// Takes special spellings as text.
    library: Tokenizer,
    head: String,
    tail: String,
    /// Of the head up to its last marker.
    head_ids: Vec<u32>,
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// A byte-level tokenizer trained on the corpus, with that normalizer and these steps before the last.
fn trained(normalizer: &Value, mut steps: Vec<Value>, added: &[(&str, bool)]) -> Value {
    let gpt2 = steps.iter().all(|step| step["type"] != "Split");
    steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": gpt2}));
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_normalizer(serde_json::from_value(normalizer.clone()).unwrap())
    .with_pre_tokenizer(Some(
        serde_json::from_value(json!({"type": "Sequence", "pretokenizers": steps})).unwrap(),
    ))
    .build()
    .unwrap();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(500)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, [CORPUS].into_iter()).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
    let first = json["model"]["vocab"].as_object().unwrap().len();
    let added: Vec<Value> = added
        .iter()
        .enumerate()
        .map(|(i, (content, special))| {
            json!({"id": first + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": special})
        })
        .collect();
    for token in &added {
        json["model"]["vocab"][token["content"].as_str().unwrap()] = token["id"].clone();
    }
    json["added_tokens"] = json!(added);
    json
}

fn family(name: &str, json: &Value, head: &str, tail: &str, trims: bool) -> Family {
    let mut library: Tokenizer = json.to_string().parse().unwrap();
    let head_ids = library
        .encode_fast(&head[..turn(head, true)], false)
        .unwrap();
    let head_ids = head_ids.get_ids().to_vec();
    library.set_encode_special_tokens(true);
    Family {
        head_ids,
        name: name.into(),
        chat: Chat::new(&json.to_string(), head, tail, trims).unwrap(),
        library,
        head: head.into(),
        tail: tail.into(),
    }
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let turns = [
        ("<|u|>", true),
        ("<|e|>", true),
        ("<think>", false),
        ("    ", false),
    ];
    let (head, tail) = ("<|u|>user\n", "<|e|>\n<|u|>answer\n");
    let digits = json!({"type": "Digits", "individual_digits": true});
    let nfc = json!({"type": "NFC"});
    let none = Value::Null;
    let mut all = vec![
        family(
            "gpt2",
            &trained(&none, vec![digits], &turns[..3]),
            head,
            tail,
            false,
        ),
        family(
            "nfc",
            &trained(&nfc, vec![split(BY_THREE)], &turns[..3]),
            head,
            tail,
            false,
        ),
        family(
            "blanks",
            &trained(&none, vec![split(BY_THREE)], &turns),
            head,
            tail,
            true,
        ),
        family(
            "case",
            &trained(&none, vec![split(BY_CASE)], &turns[..3]),
            head,
            tail,
            true,
        ),
        family(
            "unknown",
            &trained(&nfc, vec![split(r"\w+ \w+|\s+|.")], &turns[..3]),
            head,
            tail,
            false,
        ),
    ];
    let cache = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default()
        .join(".cache/opsd-rs");
    for (path, head, tail) in [
        (
            "models/smollm2-135m",
            "<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "tokenizers/qwen-1",
            "<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("tokenizers/tekken-1", "<s>[INST]", "[/INST]"),
    ] {
        if let Ok(text) = std::fs::read_to_string(cache.join(path).join("tokenizer.json")) {
            all.push(family(
                path,
                &serde_json::from_str(&text).unwrap(),
                head,
                tail,
                false,
            ));
        }
    }
    all
});

fn context() -> ContextTemplate {
    ContextTemplate::new(&Templates {
        template: "{prompt}{solution}{feedback}\n\nCorrectly solve the original question.".into(),
        sections: [
            ("solution", "\nCorrect solution:\n\n{solution}"),
            ("feedback", "\nThe following is feedback:\n\n{feedback}"),
        ]
        .map(|(name, wrapper)| (name.into(), wrapper.into()))
        .to_vec(),
        bare: "{prompt}".into(),
        ..Templates::default()
    })
    .unwrap()
}

/// The library's ids of a whole turn, from its first marker to its last.
fn reference(family: &Family, message: &str) -> Vec<u32> {
    let whole = family.chat.render(message);
    let (start, end) = (turn(&family.head, true), turn(&family.tail, false));
    let inside = &whole[start..whole.len() - (family.tail.len() - end)];
    let middle = family.library.encode_fast(inside, false).unwrap();
    [&family.head_ids, middle.get_ids(), family.chat.tail_ids()].concat()
}

/// Where the marker next to the message ends (in the head) or starts (in the tail).
fn turn(text: &str, head: bool) -> usize {
    let close = |c| matches!(c, '>' | ']');
    let open = |c| matches!(c, '<' | '[');
    if head {
        text.rfind(close).unwrap() + 1
    } else {
        text.find(open).unwrap()
    }
}

fn text() -> impl Strategy<Value = String> {
    let words = [
        "def f(x):\n    return x + 12\n",
        " the",
        "word ",
        "a b",
        "ab\n",
        " \n",
        "  ",
        "\n\n",
        "\t",
        "'s ",
        "don't",
        "12 ",
        "3.14",
        "é ",
        "e\u{301}",
        "\u{301}",
        "x\u{323}\u{302} y",
        "漢字 ",
        "\u{1100}\u{1161}\u{11a8}",
        "🙂 ",
        "\u{a0}",
        "\u{1c}",
        "))\n",
        "//\n",
        "<|",
        "|>",
        "<think>",
        "<|e|>",
        "<|im_end|>",
        "[INST]",
        "K\u{327} ",
        "AbC d",
    ];
    prop_oneof![
        ".{0,40}",
        "\\PC{0,40}",
        proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..14)
            .prop_map(|words| words.concat()),
    ]
}

type Texts = (String, Option<String>, Option<String>);

fn texts() -> impl Strategy<Value = Texts> {
    (
        text(),
        proptest::option::of(text()),
        proptest::option::of(text()),
    )
}

/// Enough to fail on what is wrong at once; many with `OPSD_RS_LONG_TESTS`.
fn cases() -> u32 {
    if std::env::var_os("OPSD_RS_LONG_TESTS").is_some() {
        400
    } else {
        40
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn ids_are_the_librarys(rows in proptest::collection::vec(texts(), 1..5), completion in any::<Vec<u32>>()) {
        let context = context();
        let sections: Vec<_> = rows.iter().map(|(_, a, b)| [a.as_deref(), b.as_deref()]).collect();
        let rows: Vec<Row<'_>> = rows
            .iter()
            .zip(&sections)
            .map(|((prompt, ..), sections)| Row { label: "p", prompt, sections })
            .collect();
        let completions = vec![&completion[..]; rows.len()];
        for family in FAMILIES.iter() {
            let packed = match assemble(&family.chat, &context, &rows, Budget::total(1 << 20), &completions) {
                // An expression that keeps a marker's spelling in one word makes it the marker itself.
                Err(Error::Forged { .. }) if family.name == "unknown" => continue,
                other => other.unwrap(),
            };
            for (i, row) in rows.iter().enumerate() {
                let message = context.fill(row);
                let (start, end) = (packed.offsets[i], packed.offsets[i + 1]);
                let prompt = &packed.ids[start..packed.completions[i]];
                prop_assert_eq!(prompt, &reference(family, &message)[..], "{} {:?}", family.name, message);
                prop_assert_eq!(&packed.ids[packed.completions[i]..end], &completion[..]);
                let [other, length] = packed.shared[i];
                prop_assert!(other < i || length == 0);
                let there = packed.offsets[other];
                prop_assert_eq!(&packed.ids[start..start + length], &packed.ids[there..there + length]);
                for [first, last] in &packed.spans[3 * i..3 * i + 3] {
                    prop_assert!(start <= *first && first <= last && *last <= packed.completions[i]);
                }
            }
        }
    }

    #[test]
    fn no_budget_is_exceeded(row in texts(), stretch in 1_usize..20, total in 200_usize..600, own in 40_usize..150) {
        let context = context();
        let (prompt, solution, feedback) = row;
        let solution = solution.map(|text| text.repeat(stretch));
        let sections = [solution.as_deref(), feedback.as_deref()];
        let rows = [Row { label: "p", prompt: &prompt, sections: &sections }];
        for family in FAMILIES.iter().filter(|family| family.name != "unknown") {
            let budget = Budget { total, sections: &[Some(own), None] };
            match assemble(&family.chat, &context, &rows, budget, &[]) {
                Ok(packed) => {
                    prop_assert!(packed.ids.len() <= total);
                    prop_assert!(packed.ids.ends_with(family.chat.tail_ids()));
                    let [first, last] = packed.spans[1];
                    prop_assert!(last - first <= own);
                }
                Err(Error::OverBudget { tokens, .. }) => {
                    let fixed = Row { sections: &sections.map(|text| text.map(|_| "")), ..rows[0] };
                    prop_assert!(tokens > total);
                    prop_assert!(reference(family, &context.fill(&fixed)).len() + 80 > total);
                }
                Err(error) => prop_assert!(false, "{}: {error}", family.name),
            }
        }
    }
}
