//! A program's own report about how a test ended. Nothing in it is trusted: a program can write any report about itself,
//! and all it can gain is a wrong answer.

use serde_json::Value;

use crate::types::outcome::{End, Frame, Limit};

/// Longest message that is kept, bytes.
const LONGEST_MESSAGE: usize = 4096;
/// Longest header that is read, bytes: the harness writes less than a tenth of it, and megabytes of text could expand
/// into values of many times that size.
const LONGEST_HEADER: usize = 1 << 20;
/// Most frames that are kept.
const MOST_FRAMES: usize = 20;

/// A parsed report.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) end: End,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) note: Option<String>,
}

/// Reads `header JSON \n value`. A report that makes no sense is a failure of the program.
pub(crate) fn parse(bytes: &[u8]) -> Report {
    try_parse(bytes).unwrap_or_else(|| Report {
        end: End::Raised {
            kind: "SystemError".to_owned(),
            message: "the program's process left no readable report".to_owned(),
            frames: Vec::new(),
        },
        value: None,
        note: None,
    })
}

fn try_parse(bytes: &[u8]) -> Option<Report> {
    let border = bytes.iter().position(|&b| b == b'\n')?;
    let (header, value) = (&bytes[..border], &bytes[border + 1..]);
    if header.len() > LONGEST_HEADER {
        return None;
    }
    let header: Value = serde_json::from_slice(header).ok()?;
    let text = |key: &str| header.get(key).and_then(Value::as_str).map(cut);
    let line = |value: &Value| value.as_u64().and_then(|line| u32::try_from(line).ok());
    let mut report = Report {
        end: End::Finished,
        value: None,
        note: text("note"),
    };
    report.end = match header.get("end")?.as_str()? {
        "finished" => {
            report.value =
                (header.get("value") == Some(&Value::Bool(true))).then(|| value.to_vec());
            End::Finished
        }
        "raised" if text("kind")? == "MemoryError" => End::Stopped { by: Limit::Memory },
        "raised" => End::Raised {
            kind: text("kind")?,
            message: text("message")?,
            frames: header
                .get("frames")?
                .as_array()?
                .iter()
                .take(MOST_FRAMES)
                .map(|frame| {
                    Some(Frame {
                        line: line(frame.get(0)?)?,
                        function: cut(frame.get(1)?.as_str()?),
                    })
                })
                .collect::<Option<_>>()?,
        },
        "compile" => End::Compile {
            kind: text("kind")?,
            message: text("message")?,
            line: header.get("line").and_then(line),
        },
        "exited" => End::Exited {
            code: i32::try_from(header.get("code")?.as_i64()?).ok()?,
        },
        "output" => End::Stopped { by: Limit::Output },
        "missing" => End::Missing,
        "blocked" => End::ImportBlocked {
            module: text("module")?,
        },
        _ => return None,
    };
    Some(report)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Asserts what holds for any bytes.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "the fuzz target calls it from outside")]
pub fn check(bytes: &[u8]) {
    let report = parse(bytes);
    assert_eq!(report, parse(bytes), "the same twice");
    if let Some(value) = &report.value {
        assert!(report.end == End::Finished && bytes.ends_with(value));
    }
    let texts: Vec<&String> = match &report.end {
        End::Raised {
            kind,
            message,
            frames,
        } => {
            assert!(frames.len() <= MOST_FRAMES);
            let functions = frames.iter().map(|frame| &frame.function);
            functions.chain([kind, message]).collect()
        }
        End::Compile { kind, message, .. } => vec![kind, message],
        End::ImportBlocked { module } => vec![module],
        _ => Vec::new(),
    };
    for text in report.note.iter().chain(texts) {
        assert!(text.len() <= LONGEST_MESSAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_reports() {
        let report = parse(b"{\"end\":\"finished\",\"value\":true}\n[1,2]");
        assert_eq!(
            (report.end, report.value),
            (End::Finished, Some(b"[1,2]".to_vec()))
        );
        let report = parse(b"{\"end\":\"finished\",\"value\":false,\"note\":\"set\"}\n");
        assert_eq!((report.value, report.note.as_deref()), (None, Some("set")));
        let text = br#"{"end":"raised","kind":"ValueError","message":"no","frames":[[3,"f"]]}"#;
        let End::Raised { frames, .. } = parse(&[text, b"\n".as_slice()].concat()).end else {
            panic!("not raised")
        };
        assert_eq!(
            frames,
            [Frame {
                line: 3,
                function: "f".to_owned()
            }]
        );
        let text =
            b"{\"end\":\"raised\",\"kind\":\"MemoryError\",\"message\":\"\",\"frames\":[]}\n";
        assert_eq!(parse(text).end, End::Stopped { by: Limit::Memory });
    }

    #[test]
    fn any_bytes_give_a_report() {
        for bytes in [
            b"".as_slice(),
            b"\n",
            b"{}\n",
            b"{\"end\":\"accepted\"}\n",
            b"{\"end\":\"exited\",\"code\":99999999999}\n",
            b"{\"end\":\"raised\",\"kind\":\"X\",\"message\":\"\",\"frames\":[[-1,2]]}\n",
            b"\xff\xfe\n\n",
            b"{\"end\":\"bad_input\",\"message\":\"a fault of ours, it says\"}\n",
            b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        ] {
            assert!(matches!(parse(bytes).end, End::Raised { .. }), "{bytes:?}");
            check(bytes);
        }
        let long = format!(
            "{{\"end\":\"compile\",\"kind\":\"E\",\"message\":\"{}\"}}\n",
            "é".repeat(9000)
        );
        let End::Compile { message, .. } = parse(long.as_bytes()).end else {
            panic!("not compile")
        };
        assert!(message.len() <= LONGEST_MESSAGE);
    }
}
