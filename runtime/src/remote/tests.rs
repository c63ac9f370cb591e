use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use align_compiler::stage::remote::{Answer, Budget};

use super::budget::Gate;
use super::kept::{self, Cost, Kept};
use super::request::{Outcome, read_answer};

#[test]
fn answers_are_read_and_what_is_none_says_why() {
    let of = |text: &str| match read_answer(text.as_bytes()) {
        (Outcome::Answered(Answer { text, finished }), tokens) => format!("{text} {finished} {tokens:?}"),
        (Outcome::Lasting(why) | Outcome::Passing { why, .. }, _) => why,
    };
    let whole =
        r#"{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"total_tokens": 9}}"#;
    assert_eq!(of(whole), "yes true Some(9)");
    assert_eq!(of(&whole.replace("stop", "length")), "yes false Some(9)");
    assert_eq!(of(r#"{"choices": [{"message": {"content": ""}}]}"#), " true None");
    for cut in 1..whole.len() {
        assert!(of(&whole[..cut]).starts_with("the answer is no JSON"), "{cut}");
    }
    for nonsense in
        [r#"{"choices": []}"#, r#"{"choices": [{"message": {"content": null}}]}"#, "[]", "7", r#"{"error": "x"}"#]
    {
        assert!(of(nonsense).contains("no text"), "{nonsense}");
    }
}

/// However many threads ask at once, and whatever their requests come to.
#[test]
fn a_budget_is_never_exceeded() {
    for budget in [Budget::Requests(37), Budget::Tokens(1000)] {
        let gate = Gate::new(Some(budget));
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (gate, stop, sent) = (&gate, &stop, &sent);
                scope.spawn(move || {
                    for i in 0..50u64 {
                        let most = 20 + i % 7;
                        if gate.enter(most, stop) == Some(true) {
                            std::thread::yield_now();
                            let tokens = most - (i + thread) % 5;
                            sent.fetch_add(if let Budget::Tokens(_) = budget { tokens } else { 1 }, Ordering::SeqCst);
                            gate.leave(most, Cost { requests: 1, tokens });
                        }
                    }
                });
            }
        });
        let sent = sent.into_inner();
        match budget {
            Budget::Requests(most) => assert_eq!(sent, most),
            // What is left has room for no request.
            Budget::Tokens(most) => assert!(sent <= most && sent + 27 > most, "{sent}"),
        }
        assert_eq!(gate.enter(30, &stop), Some(false));
    }
}

#[test]
fn what_is_kept_comes_back_and_what_is_broken_does_not() {
    use align_compiler::stage::hash::Hasher;
    let folder = tempfile::tempdir().unwrap();
    let key = Hasher::new("a question").finish();
    let kept = Kept {
        answer: Answer { text: "ja\n\u{1F600}".into(), finished: false },
        cost: Cost { requests: 2, tokens: 30 },
    };
    assert_eq!(kept::read(folder.path(), &key), None);
    kept::prepare(folder.path(), &key).unwrap();
    kept::write(folder.path(), &key, &server(), &kept).unwrap();
    assert_eq!(kept::read(folder.path(), &key), Some(kept));
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let path = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("STUB_KEY"));
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(kept::read(folder.path(), &key), None);
}

fn server() -> align_compiler::stage::remote::Server {
    align_compiler::stage::remote::Server {
        url: "http://127.0.0.1:1/v1".into(),
        model: None,
        key: Some("STUB_KEY".into()),
        parallel: 1,
        timeout: std::time::Duration::from_secs(1),
        retries: 0,
        backoff: std::time::Duration::ZERO,
        longest: 100,
        budget: None,
    }
}
