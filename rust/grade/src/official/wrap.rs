//! A program on standard input, rewritten as the official runner rewrites it: imports first, the rest in a function.
//!
//! The runner parses the source, moves statements, unparses the tree and compiles that text, which costs more than most
//! programs do. Here lines are moved and indented instead, where that surely compiles to the same code; wherever it
//! might not, there is no result and the program's process does as the runner does. Line numbers change.

use super::statements::{Line, statements};

/// Sources with one of these may read line numbers or their own text, or are not handled as a function.
const LOOKS_BACK: &[&str] = &[
    "Solution",
    "__code__",
    "bdb",
    "co_",
    "doctest",
    "faulthandler",
    "frame",
    "inspect",
    "linecache",
    "lineno",
    "logging",
    "pdb",
    "print_exc",
    "format_exc",
    "profile",
    "tb_",
    "trace",
    "unittest",
    "warn",
];

/// The program as imports and `wrapped_function`; `None`: not decided here.
pub fn as_function(source: &str) -> Option<String> {
    if LOOKS_BACK.iter().any(|word| source.contains(word)) {
        return None;
    }
    let lines = statements(source)?;
    if !lines.first()?.is_top() {
        return None; // Python would refuse it
    }
    let goes_on = |line: &Line| matches!(line.word(), "elif" | "else" | "except" | "finally");
    let last = lines
        .iter()
        .rposition(|line| line.is_top() && !goes_on(line))?;
    let (mut imports, mut rest) = (String::new(), String::from("def wrapped_function():\n"));
    let body = guarded(&lines[last..])?;
    let outside = if body.is_empty() { lines.len() } else { last };
    let (mut in_import, mut decorated, mut is_empty) = (false, false, body.is_empty());
    for line in &lines[..outside] {
        if line.is_top() {
            let imports_now = matches!(line.word(), "import" | "from");
            if (in_import && goes_on(line)) || (imports_now && decorated) {
                return None; // an import inside a statement
            }
            in_import = imports_now;
            decorated = line.text.starts_with('@');
        } else if in_import {
            return None; // an indented line under an import
        }
        if in_import {
            imports.push_str(&line.text);
            imports.push('\n');
        } else {
            is_empty = false;
            push(&mut rest, &line.indent, &line.text);
        }
    }
    for line in body {
        // An import there would go first too; a string at the start would become the function's docstring.
        if line.text.contains("import") || line.text.starts_with(['"', '\'']) {
            return None;
        }
        let indent = line.indent.strip_prefix(&body[0].indent)?;
        push(&mut rest, indent, &line.text);
    }
    (!is_empty).then_some(imports + &rest)
}

/// A line of the function. One more tab keeps the order of all indentations, in tabs or blanks.
fn push(rest: &mut String, indent: &str, text: &str) {
    for part in ["\t", indent, text, "\n"] {
        rest.push_str(part);
    }
}

/// The body of the last statement, if that is `if __name__ == '__main__':`, which it replaces; empty if it is
/// another statement; `None` if it only resembles that one.
fn guarded(statement: &[Line]) -> Option<&[Line]> {
    let (head, body) = statement.split_first()?;
    if head.word() != "if" || !head.text.contains("__name__") {
        return Some(&[]);
    }
    let blank = [' ', '\t'];
    let test = head.text[2..].trim_start_matches(blank);
    let test = test.strip_prefix("__name__")?.trim_start_matches(blank);
    let test = test.strip_prefix("==")?.trim_start_matches(blank);
    let rest = ["'__main__'", "\"__main__\""]
        .iter()
        .find_map(|name| test.strip_prefix(name))?;
    let is_plain = rest.trim_start_matches(blank) == ":" && !body.iter().any(Line::is_top);
    (is_plain && !body.is_empty()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::as_function;

    fn becomes(source: &str, text: &str) {
        assert_eq!(as_function(source).as_deref(), Some(text), "{source}");
    }

    #[test]
    fn imports_go_first_and_the_rest_into_the_function() {
        becomes(
            "x = 1\nimport sys; y = 2\n\n# note\ndef f(a, # one\n b):\n    '''two\n  lines'''\nfrom os import (\n p)\nf(x,\n1)",
            "import sys\nfrom os import (  p)\ndef wrapped_function():\n\tx = 1\n\ty = 2\n\tdef f(a,    b):\n\t    \
             '''two\n  lines'''\n\tf(x, 1)\n",
        );
        becomes(
            "print(1) ;a = 2 ; # ;\n",
            "def wrapped_function():\n\tprint(1)\n\ta = 2\n",
        );
        becomes(
            "x = 1\u{3000}\n",
            "def wrapped_function():\n\tx = 1\u{3000}\n",
        );
        becomes("x = 1 + \\\n2\n", "def wrapped_function():\n\tx = 1 +  2\n");
        becomes(
            "if x[1:2]: a; b\nelse: c\nz: int = 1",
            "def wrapped_function():\n\tif x[1:2]:\n\t a\n\t b\n\telse:\n\t c\n\tz: int = 1\n",
        );
    }

    #[test]
    fn a_last_guard_gives_way_to_its_body() {
        let main = "def wrapped_function():\n\tdef main():\n\t  pass\n\tmain()\n";
        becomes(
            "def main():\n  pass\nif __name__ == \"__main__\":\n    main()\n# end\n",
            main,
        );
        becomes(
            "def main():\n  pass\nif __name__=='__main__' : main()",
            main,
        );
        becomes(
            "if __name__ == '__main__': # go\n\tfor i in '12':\n\t\tprint(i)\n",
            "def wrapped_function():\n\tfor i in '12':\n\t\tprint(i)\n",
        );
        becomes(
            "if __name__ == '__main__':\n  a()\nb()\n",
            "def wrapped_function():\n\tif __name__ == '__main__':\n\t  a()\n\tb()\n",
        );
    }

    #[test]
    fn what_might_mean_something_else_is_left_alone() {
        let long = format!("x = 1{}\n", " + 1".repeat(100));
        let deep = (0..30).map(|n| format!("{}if 1:\n", " ".repeat(n)));
        let deep = deep.collect::<String>() + &" ".repeat(30) + "pass\n";
        for source in [
            "",
            "import sys\n",
            "if __name__ == '__main__':\n  a()\nelse:\n  b()\n",
            "if '__main__' == __name__:\n  a()\n",
            "if __name__ == '__main__':\n  import sys\n  a()\n",
            "if __name__ == '__main__':\n  'text'\n",
            "if __name__ == '__main__':\n",
            "print(f\"{a['b']} \\\"\")\n",
            "print('\"' f\"{a['b']}\")\n",
            "print(f'{a[\"b\"]}ä')\n",
            "print(f\"{x[\"b\"]}\")\n",
            "print('''a\nb''')\n",
            "while lambda: x: pass\n",
            "match x:\n  case 1: pass\n",
            "x = (1\n",
            "x = 1)\n",
            "x = 'a\n",
            "x = '''a\n",
            "x = \\ 1\n",
            "import traceback\nx = 1\n",
            "class Solution: pass\n",
            "class  Solution: pass\n",
            "x = 1;;\n",
            "x = 1\n;y = 2\n",
            "x = 1 \\\n",
            "x = 1\n\\\n  y = 2\n",
            "if x: y\n  z\n",
            "if x: y;\n  z\n",
            "if x: if y: z\n",
            "x; def f(): y\n",
            " x\ny\n",
            "@d;\ndef f(): y\n",
            "@d\nimport os\ndef f(): y\n",
            "try:\n  x\nimport os\nexcept y:\n  z\n",
            " \tx = 1\n",
            "x = 1\r\n",
            "x = zip'a'\n",
            &long,
            &deep,
        ] {
            assert_eq!(as_function(source), None, "{source}");
        }
    }
}
