use crate::eval::Eval;
use crate::eval::checks::{Library, explained, nowhere, program};

/// What an expression is worth, as it is printed; or the code and message of its fault.
fn worth(expression: &str) -> String {
    let program = program(&format!("let x = {expression}\n"));
    let mut eval = Eval::new(&program, &Library);
    match eval.global("x", nowhere()) {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{}: {}", error.code, error.message),
    }
}

#[test]
fn texts() {
    assert_eq!(
        worth(r#"(lower("ÄB"), upper("ß"), trim(" a\n"))"#),
        r#"Tuple { positional: ["äb", "SS", "a"], named: [] }"#
    );
    assert_eq!(worth(r#"split(" a  b\tc ")"#), r#"["a", "b", "c"]"#);
    assert_eq!(worth(r#"split("a, b,c", ", ")"#), r#"["a", "b,c"]"#);
    assert_eq!(worth(r#"replace("aaa", "a", "bb")"#), r#""bbbbbb""#);
    assert_eq!(worth(r#"[starts_with("abc", "ab"), ends_with("abc", "ab")]"#), "[true, false]");
    assert_eq!(worth(r#"find("äbc", "c") |> or_else(-1)"#), "2");
    assert_eq!(worth(r#"find("abc", "d") < find("abc", "a")"#), "true");
    assert_eq!(worth(r#"between("<a>x</a><a>y</a>", "<a>", "</a>") |> or_else("")"#), r#""x""#);
    assert_eq!(worth(r#"(between("<a>x", "<a>", "</a>")).some"#), "false");
    assert_eq!(worth(r#"["(a)", "(b)"] |> map(between("(", ")")) |> map(x => x |> or_else(""))"#), r#"["a", "b"]"#);
    assert_eq!(worth(r#"[count("banana", "an"), count([1, 2, 3], x => x > 1), count([true, false])]"#), "[2, 2, 1]");
    assert_eq!(worth(r#"[take("äbc", 2), take("a", 9)]"#), r#"["äb", "a"]"#);
    assert_eq!(worth(r#"["äbc".length, [1, 2].length]"#), "[3, 2]");
    assert_eq!(worth(r#"distinct(["a", "b", "a"])"#), r#"["a", "b"]"#);
    assert_eq!(worth(r#"distinct([1, 1.0, 2])"#), "[1, 2]");
    assert_eq!(worth(r#"[every([1, 2], x => x > 0), every([], x => false)]"#), "[true, true]");
    assert_eq!(
        worth(r#"number("12") |> map(x => x + 1) |> and_then(x => number("2") |> map(y => x * y)) |> or_else(0)"#),
        "26.0"
    );
}

#[test]
fn patterns() {
    assert_eq!(worth(r#"has("step 3", r"\d")"#), "true");
    assert_eq!(worth(r#"(match("max 2x + 3y", r"(\d)x \+ (\d)y") |> or_else(("", "", ""))).2"#), r#""3""#);
    assert_eq!(worth(r#"matches("a1b22", r"[a-z](\d+)") |> map(m => m.1)"#), r#"["1", "22"]"#);
    assert_eq!(worth(r#"has("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", r"^(a+)+$")"#), "false");
    let error = worth(r#"has("a", r"(")"#);
    assert!(error.starts_with("E0113: `(` is no pattern: unclosed group"), "{error}");
    let error = worth(r#"has("a", r"(?=b)")"#);
    assert!(error.contains("look-around"), "{error}");
    let error = worth(r#"has("a", r"\w{1000}{1000}")"#);
    assert!(error.starts_with("E0113"), "{error}");
}

#[test]
fn exact_numbers() {
    assert_eq!(worth(r#"rational("(3 + 5) * 2 / 4") |> or_else(0)"#), "4");
    assert_eq!(worth(r#"rational("1/3") == rational("2/6")"#), "true");
    assert_eq!(worth(r#"rational("1/3") |> map(x => 3 * x == 1 and x < 1 and -x < 0) |> or_else(false)"#), "true");
    assert_eq!(worth(r#"rational("0.1 + 0.2") == rational("0.3")"#), "true");
    assert_eq!(worth(r#"rational("2**3") |> or_else(-1)"#), "-1");
    assert_eq!(worth(r#"numbers("3 + 4.5 - 12")"#), "[3, <a Rational>, 12]");
    assert_eq!(worth(r#"float(numbers("4.5")[0])"#), "4.5");
    assert_eq!(worth(r#"rational("9007199254740993") == rational("9007199254740992")"#), "false");
    assert_eq!(worth(r#"rational("1/3") |> map(x => x / 0) |> or_else(0)"#), "E0333: division of an exact number by 0");
}

#[test]
fn code_does_not_go_on_for_ever() {
    let program = program(
        "fn f(n: Int) -> Int = if n < 0 then 0 else f(n + 1)\nfn g() -> Int {\n  var n = 0\n  until false { n = n + 1 }\n  n\n}\nlet x = g()\n",
    );
    let mut eval = Eval::new(&program, &Library);
    let error = eval.budgeted(10_000, |eval| eval.global("x", nowhere())).expect_err("no fuel");
    assert_eq!((error.code, &*error.message), ("E0331", "this used up its 10_000 operations"));
    // The budget around it is untouched but for what was taken.
    explained(&program, eval.budgeted(50, |eval| eval.spend(40, nowhere())));
    assert!(eval.budgeted(50, |eval| eval.budgeted(100, |eval| eval.spend(60, nowhere()))).is_err());
}
