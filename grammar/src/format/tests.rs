use super::*;
use crate::print::print;

/// Formats, and checks that the tree is the same and a second time changes nothing.
fn formatted(text: &str) -> String {
    let out = format(text).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    let tree = |text: &str| print(&parse(FileId(0), text).file);
    assert_eq!(tree(&out), tree(text), "\n{out}");
    assert_eq!(format(&out).as_deref(), Ok(&*out));
    out
}

#[test]
fn blanks_between_tokens() {
    let text = "fn f( x:Float,y :Float=-1 )->Float=-x ^ 2*( y-1 )+xs[ 0 ] .a  |>g ( 1 .. )";
    assert_eq!(formatted(text), "fn f(x: Float, y: Float = -1) -> Float = -x^2 * (y - 1) + xs[0].a |> g(1..)\n");
    let text = "let r=Pair{a:1 , b : {}}\nlet s = not(a)and if(b)then - 1 else x[time:-1 , a:0..-2 ]\nlet q = t?.a..3\nlet e = 2^ -1";
    let out = "let r = Pair { a: 1, b: { } }\nlet s = not (a) and if (b) then -1 else x[time: -1, a: 0..-2]\nlet q = t?.a..3\nlet e = 2^-1\n";
    assert_eq!(formatted(text), out);
    let text = "pipeline{train p{only  .a,.b;clip -1;loss (a,b)=>a-b;each 50 steps{x=x -1};};show (a, b);show -x ;}";
    let out = "pipeline { train p { only .a, .b; clip -1; loss (a, b) => a - b; each 50 steps { x = x - 1 }; }; show (a, b); show -x; }\n";
    assert_eq!(formatted(text), out);
}

#[test]
fn lines_and_notes() {
    let text = "\n\n//! about\n\n\n\nuse std.a{b}\n//one\n\n\n/// doc  \nfn f(x: Int) {\n\n    // first\n  let y = x;  // why\n\n\n  y   \n    // last\n\n}";
    let out = "//! about\n\nuse std.a { b }\n//one\n\n/// doc\nfn f(x: Int) {\n  // first\n  let y = x  // why\n\n  y\n  // last\n}\n";
    assert_eq!(formatted(text), out);
}

#[test]
fn statements_go_on() {
    let text = "let a = xs\n|> f(1)\n // then\n|> g(x => {\nx\n})\nfn f(x: Int) =\nif x > 1 then\n{ 1 }\nelse\n2\nlet b = if x then 1\n        else 2\n";
    let out = "let a = xs\n  |> f(1)\n  // then\n  |> g(x => {\n    x\n  })\nfn f(x: Int) =\n  if x > 1 then\n    { 1 }\n  else\n    2\nlet b = if x then 1\n        else 2\n";
    assert_eq!(formatted(text), out);
    let text = "data d = for a in 0..3 {\n a\n}\n|> f()\nfn g(a: Int,\n     b: Int) = h[c](\n1,\n2)\n";
    let out = "data d = for a in 0..3 {\n    a\n  }\n  |> f()\nfn g(a: Int,\n     b: Int) = h[c](\n  1,\n  2)\n";
    assert_eq!(formatted(text), out);
}

#[test]
fn columns_stay_aligned() {
    let text = "pipeline {\n let p = train q {\n  on        xs |> f()  // a\n  loss      sft(.reply)  // b\n  batch 3 examples\n }\n  let a   = 1\n  let long_name   = 2\n  let c = 3\n}\n";
    let out = "pipeline {\n  let p = train q {\n    on   xs |> f()  // a\n    loss sft(.reply)  // b\n    batch 3 examples\n  }\n  let a = 1\n  let long_name = 2\n  let c = 3\n}\n";
    assert_eq!(formatted(text), out);
    let text = "fn f(x: Int) {\n  let a      = 1     // one\n  let other  = 22    // two\n  a\n}\n";
    let out = "fn f(x: Int) {\n  let a     = 1      // one\n  let other = 22     // two\n  a\n}\n";
    assert_eq!(formatted(text), out);
}

#[test]
fn texts_of_several_lines_are_kept() {
    let text = "let t   =  \"\"\"a\n     {  f(x)  }\n  b\"\"\"  ++  \"c\"\n";
    assert_eq!(formatted(text), "let t = \"\"\"a\n     {  f(x)  }\n  b\"\"\" ++ \"c\"\n");
}

#[test]
fn errors_are_given_back() {
    assert_eq!(format("let = 3").expect_err("it cannot be read").len(), 1);
    assert_eq!(first_difference("let a = 3\nlet b  = 4\n"), Ok(Some(2)));
    assert_eq!(first_difference("let a = 3\n"), Ok(None));
}
